"""The judges that the package holds: linear heads on a small model's hidden states, no network needed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from hf_prosocial.bases import find_base, preferred_device
from hf_prosocial.evaluation.prompts import Prompt
from hf_prosocial.files import write_json
from hf_prosocial.identity import weight_hash

from .features import Features, ReplyFeatures
from .labels import HARM, REFUSAL

WEIGHTS, RECORD = "heads.safetensors", "heads.json"


@dataclass(frozen=True)
class Head:
    """Features to as many values as there are names: (x − mean) / deviation · weight + bias.

    Attributes:
        names: of the values: objectives, or labels whose logits they are.
        mean, deviation: of the features, fp32.
        weight, bias: (features, names) and (names,), fp32.
    """

    names: tuple[str, ...]
    mean: Float[np.ndarray, " features"]
    deviation: Float[np.ndarray, " features"]
    weight: Float[np.ndarray, "features names"]
    bias: Float[np.ndarray, " names"]

    def __call__(self, features: Features) -> Float[np.ndarray, "replies names"]:
        """The values, fp64, the same to the bit however many rows are asked at once."""
        standard = (features.astype(np.float64) - self.mean) / self.deviation
        return (
            np.stack([np.einsum("nf,f->n", standard, one) for one in self.weight.T.astype(np.float64)], 1) + self.bias
        )


@dataclass(frozen=True)
class Heads:
    """Heads by what they tell ("rewards", "refusal", "harm"), and their record.

    Attributes:
        heads: as above.
        record: layers, the model's dtype and hash, the data's hashes, and how good each head is on what it was not
            trained on.
    """

    heads: Mapping[str, Head]
    record: Mapping[str, Any]

    def save(self, directory: str | Path) -> None:
        """Write heads.safetensors and heads.json."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{kind}.{part}": np.ascontiguousarray(getattr(head, part), dtype=np.float32)
            for kind, head in self.heads.items()
            for part in ("mean", "deviation", "weight", "bias")
        }
        beside = folder / f"{WEIGHTS}.partial"
        save_file(arrays, beside)
        beside.replace(folder / WEIGHTS)
        names = {kind: list(head.names) for kind, head in self.heads.items()}
        write_json(folder / RECORD, {"names": names, **self.record})

    @classmethod
    def load(cls, directory: str | Path) -> "Heads":
        """Read what `save` wrote.

        Raises:
            OSError: nothing there.
        """
        folder = Path(directory)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        arrays = load_file(folder / WEIGHTS)
        heads = {
            kind: Head(tuple(names), *(arrays[f"{kind}.{part}"] for part in ("mean", "deviation", "weight", "bias")))
            for kind, names in record.pop("names").items()
        }
        return cls(heads, record)

    def features(self) -> ReplyFeatures:
        """The features that the heads read, of the model that they were trained on.

        Raises:
            ValueError: the model that was found has other weights.
        """
        model, tokenizer = find_base(self.record["model"]).load(self.record["dtype"], device=preferred_device())
        found, expected = weight_hash(model, model.dtype), self.record["weights"]
        if found != expected:
            raise ValueError(
                f"the heads read {self.record['model']} of weights {expected[:12]}, but those found are {found[:12]}; "
                "train heads on them (prosocial judges train), or choose another judge"
            )
        return ReplyFeatures(model, tokenizer, self.record["layers"])


class EmbeddedScorer:
    """The reward heads as a `Scorer`.

    Args:
        heads: with "rewards" among them.
        features: from `heads.features()`; shared with the judges, each reply is read once.
    """

    def __init__(self, heads: Heads, features: ReplyFeatures) -> None:
        self._head, self._features = heads.heads["rewards"], features
        self.names = self._head.names

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """As `Scorer`; in logits of being preferred, so that differences alone mean something."""
        return self._head(self._features(prompts, replies))


class EmbeddedJudge:
    """The head "refusal" or "harm" as a `Judge`: the likeliest label.

    Args:
        heads, features: as `EmbeddedScorer`'s.
        kind: which head.
    """

    def __init__(self, heads: Heads, features: ReplyFeatures, kind: str) -> None:
        self._head, self._features = heads.heads[kind], features
        self.labels = {"harm": HARM, "refusal": REFUSAL}[kind]
        self.validated_on: str | None = heads.record["validation"][kind]["said"]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """As `Judge`."""
        return [self._head.names[index] for index in self._head(self._features(prompts, replies)).argmax(1)]
