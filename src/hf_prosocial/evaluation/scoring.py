"""Scorers and judges over kept replies: what each said is kept beside the replies that it was said of."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import released_arm, released_judges
from hf_prosocial.bases import find_base, preferred_device
from hf_prosocial.files import sha256, write_text

from .config import (
    RELEASED,
    ArmScorerConfig,
    ClassifierConfig,
    EmbeddedConfig,
    EndpointConfig,
    EvaluationConfig,
    GuardConfig,
    TemplateConfig,
)
from .judges.asked import AskedJudge, AskedScorer
from .judges.embedded import RECORD, WEIGHTS, EmbeddedJudge, EmbeddedScorer, Heads
from .judges.endpoint import Endpoint
from .judges.features import ReplyFeatures
from .judges.labels import HARM, REFUSAL, Judge
from .judges.local import GuardJudge, TemplateJudge
from .prompts import Prompt
from .scorers import ArmScorer, ClassifierScorer, Scorer

ANSWERS = "answers"
_Values = TypeVar("_Values")


class Scoring:
    """The evaluation's scorers and judges, each opened when it is first needed.

    Args:
        config: the evaluation.
        objectives: what rewards are asked for.
        out: the evaluation's folder; answers of endpoints go there.
    """

    def __init__(self, config: EvaluationConfig, objectives: Sequence[str], out: Path) -> None:
        self._config, self._objectives, self._out = config, tuple(objectives), out
        self._features: dict[Path, ReplyFeatures] = {}

    @cached_property
    def rewards(self) -> Scorer:
        """The reward model.

        Raises:
            ValueError: it lacks one of the objectives.
        """
        chosen, scorer = self._config.rewards, self._scorer()
        missing = [name for name in self._objectives if name not in scorer.names]
        if missing:
            raise ValueError(f"{chosen} has the rewards {list(scorer.names)}, and none for {missing}")
        return scorer

    @cached_property
    def harm(self) -> Judge:
        """The judge of harm."""
        return self._judge("harm")

    @cached_property
    def refusal(self) -> Judge:
        """The judge of refusals."""
        return self._judge("refusal")

    def reward_columns(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[list[float]]:
        """The objectives' rewards of each reply, in their order."""
        scores = self.rewards(prompts, replies)
        columns = [self.rewards.names.index(name) for name in self._objectives]
        return scores[:, columns].tolist()

    def identity(self, kind: str) -> dict[str, Any]:
        """What the scores of a kind follow from beside the replies, known without loading a model."""
        chosen: Any = getattr(self._config, kind)
        found = asdict(chosen)
        if isinstance(chosen, EmbeddedConfig):
            found |= {name: sha256(_heads(chosen) / name) for name in (WEIGHTS, RECORD)}
        if isinstance(chosen, TemplateConfig):
            found["template_hash"] = sha256(chosen.template)
        return found | {"objectives": list(self._objectives)} if kind == "rewards" else found

    def harm_validation(self) -> str | None:
        """The human labels that the harm judge was compared with, and how it did; None where it was not."""
        chosen = self._config.harm
        if isinstance(chosen, EmbeddedConfig):
            return Heads.load(_heads(chosen)).record["validation"]["harm"]["said"]
        return None

    def described(self, kind: str) -> str:
        """Who scores, in a line for the report."""
        chosen: Any = getattr(self._config, kind)
        if not isinstance(chosen, EmbeddedConfig):
            return f"{chosen.kind} {getattr(chosen, 'model', None) or getattr(chosen, 'arm', '')}, not validated here"
        record = Heads.load(_heads(chosen)).record
        if kind == "rewards":
            held_out = ", ".join(f"{name} {one['mean']:.3f}" for name, one in record["validation"]["rewards"].items())
            return f"embedded heads on {record['model']}, accuracy on held-out pairs: {held_out}"
        return f"embedded heads on {record['model']}, on {record['validation'][kind]['said']}"

    def _scorer(self) -> Scorer:
        chosen = self._config.rewards
        if isinstance(chosen, EmbeddedConfig):
            heads = Heads.load(_heads(chosen))
            return EmbeddedScorer(heads, self._features_of(chosen, heads))
        if isinstance(chosen, ArmScorerConfig):
            model, tokenizer = find_base(self._config.base).load(self._config.dtype, device=preferred_device())
            source = released_arm() if chosen.arm == RELEASED else chosen.arm
            return ArmScorer(load_arm(source, model, tokenizer=tokenizer), tokenizer)
        if isinstance(chosen, ClassifierConfig):
            model = AutoModelForSequenceClassification.from_pretrained(chosen.model).to(preferred_device())
            tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(chosen.model))
            return ClassifierScorer(model, tokenizer, chosen.names)
        return AskedScorer(self._endpoint(chosen, "rewards"), self._objectives)

    def _judge(self, kind: str) -> Judge:
        chosen: Any = getattr(self._config, kind)
        if isinstance(chosen, EmbeddedConfig):
            heads = Heads.load(_heads(chosen))
            return EmbeddedJudge(heads, self._features_of(chosen, heads), kind)
        if isinstance(chosen, EndpointConfig):
            return AskedJudge(self._endpoint(chosen, kind), kind)
        model, tokenizer = find_base(chosen.model).load(device=preferred_device())
        if isinstance(chosen, GuardConfig):
            if kind != "harm":
                raise ValueError(f"a guard says safe or unsafe, which tells nothing of refusals; found {chosen}")
            return GuardJudge(model, tokenizer)
        template = Path(chosen.template).read_text(encoding="utf-8")
        labels = HARM if kind == "harm" else REFUSAL
        return TemplateJudge(model, tokenizer, template, chosen.answers, labels=labels)

    def _endpoint(self, chosen: EndpointConfig, kind: str) -> Endpoint:
        return Endpoint(chosen, self._out / ANSWERS / f"{kind}.jsonl")

    def _features_of(self, chosen: EmbeddedConfig, heads: Heads) -> ReplyFeatures:
        folder = _heads(chosen)
        if folder not in self._features:
            self._features[folder] = heads.features()
        return self._features[folder]


def kept(path: Path, settings: Mapping[str, Any], compute: Callable[[], _Values]) -> _Values:
    """What was computed once: read where it was computed from the same settings, else computed and written.

    Args:
        path: where it is kept.
        settings: all that it follows from, hashes among it.
        compute: the values, as JSON has them.
    """
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["settings"] == settings:
            return content["values"]
    values = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not write_json, whose null for what is not finite would be read as another value than was computed.
    write_text(path, json.dumps({"settings": settings, "values": values}) + "\n")
    return values


def as_scores(values: list[list[float]]) -> Float[np.ndarray, "replies k"]:
    """Kept rewards as an array; what Python's JSON keeps as NaN is NaN."""
    return np.array(values, dtype=np.float64)


def _heads(chosen: EmbeddedConfig) -> Path:
    return released_judges() if chosen.heads == RELEASED else Path(chosen.heads)
