"""Sequence-classification models of the Hub as reward models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.data import Prompt, batches_by_length
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar
from hf_prosocial.models import preferred_device

from .registry import JudgeConfig, JudgeContext, Role, Scorer, register_judge


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
        labels: Any = model.config.id2label
        count = len(labels)
        self.names = tuple(names or (["reward"] if count == 1 else [labels[index] for index in range(count)]))
        if len(self.names) != count:
            raise ProsocialError(f"the model has {count} outputs, but {len(self.names)} are named: {list(self.names)}")
        if tokenizer.chat_template is None:
            raise ProsocialError(
                "the tokenizer has no chat template, so that a conversation cannot be shown to the model"
            )
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """The rewards of each reply to the prompt beside it; logits."""
        texts = [
            str(
                self._tokenizer.apply_chat_template(
                    [*prompt.messages(), {"role": "assistant", "content": reply}], tokenize=False
                )
            )
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        ids: list[list[int]] = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        scores = np.empty((len(texts), len(self.names)))
        with torch.no_grad(), progress_bar(len(texts), "scores", "reply") as progress:
            for batch in batches_by_length([len(row) for row in ids], self._batch_tokens):
                inputs: Any = self._tokenizer.pad({"input_ids": [ids[index] for index in batch]}, return_tensors="pt")
                logits = self._model(**inputs.to(self._model.device)).logits
                scores[batch] = logits.double().cpu().numpy()
                progress.update(len(batch))
        return scores


@register_judge("classifier")
@dataclass(frozen=True)
class ClassifierConfig(JudgeConfig):
    """A sequence-classification model of the Hub, and names for its outputs."""

    kind: Literal["classifier"]
    model: str
    names: tuple[str, ...] | None = None

    def open(self, role: Role, context: JudgeContext) -> Scorer:
        """Open the judge or scorer for a role."""
        if role != "rewards":
            raise ProsocialError(f"a classifier gives rewards; it is no judge of {role}")
        model = AutoModelForSequenceClassification.from_pretrained(self.model).to(preferred_device())
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(self.model))
        return ClassifierScorer(model, tokenizer, self.names)

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report."""
        return f"classifier {self.model}, not validated here"
