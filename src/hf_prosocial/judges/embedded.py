"""The judges that the package holds: linear heads on a small model's hidden states, no network needed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hf_prosocial.assets import RELEASED, SMOLLM2_JUDGES, released_judges
from hf_prosocial.data import Prompt
from hf_prosocial.errors import ProsocialError
from hf_prosocial.estimates import Estimate
from hf_prosocial.io import file_beside, sha256
from hf_prosocial.models import ModelWeights, distance, find_base, preferred_device, weight_hash
from hf_prosocial.records import HEADS, HeadsRecord

from .features import FeatureReader, Features, ReplyFeatures
from .labels import HARM, REFUSAL
from .registry import MEASURABLE, Judge, JudgeConfig, JudgeContext, Role, Scorer, check_rewards, register_judge
from .sentence_features import sentence_features

WEIGHTS = "heads.safetensors"
logger = logging.getLogger(__name__)

LABELS = {"harm": HARM, "refusal": REFUSAL}


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
        record: what they were trained on, and how good each is on what it was not trained on.
    """

    heads: Mapping[str, Head]
    record: HeadsRecord

    def save(self, directory: str | Path) -> None:
        """Write heads.safetensors and heads.json."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{kind}.{part}": np.ascontiguousarray(getattr(head, part), dtype=np.float32)
            for kind, head in self.heads.items()
            for part in ("mean", "deviation", "weight", "bias")
        }
        with file_beside(folder / WEIGHTS) as work:
            save_file(arrays, work)
        names = {kind: head.names for kind, head in self.heads.items()}
        replace(self.record, names=names).write(folder / HEADS)

    @classmethod
    def load(cls, directory: str | Path) -> "Heads":
        """Read what `save` wrote.

        Raises:
            OSError: nothing there.
        """
        folder = Path(directory)
        record = HeadsRecord.read(folder / HEADS)
        try:
            arrays = load_file(folder / WEIGHTS)
            parts = {
                kind: [arrays[f"{kind}.{part}"] for part in ("mean", "deviation", "weight", "bias")]
                for kind in record.names
            }
        except (SafetensorError, KeyError) as error:
            raise ProsocialError(f"{folder / WEIGHTS} is damaged ({error}); get it again, or train heads") from error
        for kind, names in record.names.items():
            width, shapes = parts[kind][0].size, [one.shape for one in parts[kind]]
            if shapes != [(width,), (width,), (width, len(names)), (len(names),)]:
                raise ProsocialError(f"{folder / WEIGHTS} is damaged: the head {kind} has the shapes {shapes}")
        return cls({kind: Head(tuple(names), *parts[kind]) for kind, names in record.names.items()}, record)

    def features(self) -> FeatureReader:
        """The features that the heads read, of the model that they were trained on.

        Raises:
            ValueError: the model that was found has other weights.
        """
        record = self.record
        if record.features == "sentences":
            return sentence_features(record)
        model, tokenizer = find_base(record.model).load(record.dtype, device=preferred_device())
        found = weight_hash(model, model.dtype)
        if found != record.weights:
            off = None if record.base_sketch is None else distance(record.base_sketch, ModelWeights(model), hashed=True)
            if off is None or not off.same:
                raise ProsocialError(
                    f"the heads read {record.model} of weights {record.weights[:12]}, but those found are {found[:12]}"
                    f"{'' if off is None else f' ({off})'}; train heads on them (prosocial judges train), or choose "
                    "another judge"
                )
            logger.warning("the heads were trained on %s in another storage: %s", record.model, off)
        return ReplyFeatures(model, tokenizer, record.layers)


class EmbeddedScorer:
    """The reward heads as a `Scorer`.

    Args:
        heads: with "rewards" among them.
        features: from `heads.features()`; shared with the judges, each reply is read once.
    """

    def __init__(self, heads: Heads, features: FeatureReader) -> None:
        self._head, self._features = heads.heads["rewards"], features
        self.names = self._head.names

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """The rewards of each reply to the prompt beside it; NaN where it cannot be read.

        In logits of being preferred, so that differences alone mean something.
        """
        return _values(self._head, self._features, prompts, replies)


class EmbeddedJudge:
    """The head "refusal" or "harm" as a `Judge`: the likeliest label.

    Args:
        heads: with the kind among them.
        features: from `heads.features()`; shared with the scorer.
        kind: which head.
    """

    def __init__(self, heads: Heads, features: FeatureReader, kind: str) -> None:
        self._head, self._features = heads.heads[kind], features
        self.labels = LABELS[kind]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where it cannot be read."""
        values = _values(self._head, self._features, prompts, replies)
        return [None if np.isnan(row).any() else self._head.names[row.argmax()] for row in values]


def _values(
    head: Head, features: FeatureReader, prompts: Sequence[Prompt], replies: Sequence[str]
) -> Float[np.ndarray, "replies names"]:
    values = np.full((len(replies), len(head.names)), np.nan)
    rows = np.flatnonzero(features.readable(prompts, replies))
    if len(rows):
        values[rows] = head(features([prompts[row] for row in rows], [replies[row] for row in rows]))
    return values


@dataclass(frozen=True)
class HeadsConfig(JudgeConfig):
    """Heads that the package holds, or a directory of such."""

    released: ClassVar[str]
    """The name of the package's own heads of this kind."""
    heads: str = RELEASED

    @property
    def folder(self) -> Path:
        """Where the heads are."""
        return released_judges(self.released) if self.heads == RELEASED else Path(self.heads)

    def open(self, role: Role, context: JudgeContext) -> Judge | Scorer:
        """Open the judge or scorer for a role; all roles share one reading of each reply."""
        heads = Heads.load(self.folder)
        features = context.once(("features", self.folder), heads.features)
        return EmbeddedScorer(heads, features) if role == "rewards" else EmbeddedJudge(heads, features, role)

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse a folder without heads, or without one for the role or an objective."""
        heads = Heads.load(self.folder).heads
        if role not in heads:
            raise ProsocialError(f"{self.folder} has heads for {', '.join(heads)}, and none for {role}")
        if role == "rewards":
            check_rewards(self, heads[role].names, context.objectives)

    def identity(self) -> dict[str, Any]:
        """All that the scores follow from beside the replies, as JSON has it; with hashes of the heads."""
        return asdict(self) | {name: sha256(self.folder / name) for name in (WEIGHTS, HEADS)}

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report.

        With the accuracy on what the heads were not trained on.
        """
        record = Heads.load(self.folder).record
        if role == "rewards":
            held_out = ", ".join(f"{name} {one['mean']:.3f}" for name, one in record.validation["rewards"].items())
            return f"embedded heads on {record.model}, accuracy on held-out pairs: {held_out}"
        return f"embedded heads on {record.model}, on {record.validation[role]['said']}"

    def not_measurable(self, names: Sequence[str]) -> dict[str, str]:
        """Rewards whose accuracy on held-out groups is not above `MEASURABLE` by its interval's lower end."""
        accuracies = Heads.load(self.folder).record.validation["rewards"]
        found = {name: Estimate(**accuracies[name]) for name in names}
        return {name: str(one) for name, one in found.items() if not one.low > MEASURABLE}

    def validation(self, role: Role) -> str | None:
        """The human labels that it was compared with; None for rewards."""
        return None if role == "rewards" else Heads.load(self.folder).record.validation[role]["said"]


@register_judge("embedded")
@dataclass(frozen=True)
class EmbeddedConfig(HeadsConfig):
    """The heads on a small causal model that the package holds, or another directory of such."""

    kind: Literal["embedded"]
    released = SMOLLM2_JUDGES
