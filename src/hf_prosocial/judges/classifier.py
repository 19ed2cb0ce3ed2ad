"""Sequence-classification models of the Hub as reward models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hf_prosocial.data import Prompt, batches_by_length
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import listed, progress_bar
from hf_prosocial.models import preferred_device

from .local import conversation_texts
from .registry import JudgeConfig, JudgeContext, Role, Scorer, check_rewards, register_judge


class ClassifierScorer:
    """A sequence-classification model of the Hub as k reward models: its k logits for the whole conversation.

    Args:
        model: an AutoModelForSequenceClassification.
        tokenizer: its own, with a chat template.
        names: of its outputs; by default what its configuration calls them, or "reward" for one.
        batch_tokens: the most tokens of a forward pass.

    Raises:
        ValueError: as many names as outputs were expected, or no chat template.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        names: Sequence[str] | None = None,
        *,
        batch_tokens: int = 4096,
    ) -> None:
        self.names = _names_of(model.config, names)
        if tokenizer.chat_template is None:
            raise ProsocialError(
                "the tokenizer has no chat template, so that a conversation cannot be shown to the model"
            )
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """The rewards of each reply to the prompt beside it, logits; NaN where the chat template refuses it."""
        texts = conversation_texts(self._tokenizer, prompts, replies)
        rows = list(texts)
        ids: list[list[int]] = [self._tokenizer(texts[row], add_special_tokens=False)["input_ids"] for row in rows]
        scores = np.full((len(replies), len(self.names)), np.nan)
        with torch.no_grad(), progress_bar(len(rows), "scores", "reply") as progress:
            for batch in batches_by_length([len(row) for row in ids], self._batch_tokens):
                inputs: Any = self._tokenizer.pad({"input_ids": [ids[index] for index in batch]}, return_tensors="pt")
                logits = self._model(**inputs.to(self._model.device)).logits
                scores[[rows[index] for index in batch]] = logits.double().cpu().numpy()
                progress.update(len(batch))
        return scores


@register_judge("classifier")
@dataclass(frozen=True)
class ClassifierConfig(JudgeConfig):
    """A sequence-classification model of the Hub, and names for its outputs."""

    kind: Literal["classifier"]
    model: str
    names: tuple[str, ...] | None = None

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse another role than "rewards", no such model, and objectives that no output is called after."""
        if role != "rewards":
            raise ProsocialError(f"a classifier gives rewards; it is no judge of {role}")
        names = _names_of(AutoConfig.from_pretrained(self.model), self.names)
        check_rewards(self, names, context.objectives)

    def open(self, role: Role, context: JudgeContext) -> Scorer:
        """Open the judge or scorer for a role."""
        self.check(role, context)
        model, found = AutoModelForSequenceClassification.from_pretrained(self.model, output_loading_info=True)
        if found["missing_keys"]:
            raise ProsocialError(
                f"{self.model} lacks {listed(sorted(found['missing_keys']))}, which would be random: it is no sequence "
                "classifier, or not whole"
            )
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(self.model))
        return ClassifierScorer(model.to(preferred_device()), tokenizer, self.names)

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report."""
        return f"classifier {self.model}, not validated here"


def _names_of(config: PreTrainedConfig, names: Sequence[str] | None) -> tuple[str, ...]:
    labels: Any = config.id2label
    count = len(labels)
    found = tuple(names or (["reward"] if count == 1 else [labels[index] for index in range(count)]))
    if len(found) != count:
        raise ProsocialError(f"the model has {count} outputs, but {len(found)} are named: {list(found)}")
    return found
