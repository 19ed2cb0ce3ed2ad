"""What replies are worth: reward models behind one small protocol."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.batching import batches_by_length
from hf_prosocial.chat import templated
from hf_prosocial.direg.completions import Completion
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference
from hf_prosocial.progress import progress_bar

from .likelihood import completion_log_probs
from .prompts import Prompt

Scores = Float[np.ndarray, "replies k"]


@runtime_checkable
class Scorer(Protocol):
    """Gives each reply k rewards.

    Attributes:
        names: of the rewards, in order.
    """

    names: tuple[str, ...]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Scores:
        """The rewards of each reply to the prompt beside it; NaN is refused by whoever averages them."""
        ...


class ArmScorer:
    """A PV-ARM as k reward models: log π_r(y | x, one-hot p_i) − log π_0(y | x), per token of the reply.

    An ARM that guided the replies would judge its own work: take it to look at that, not to compare methods.

    Args:
        arm: from `load_arm`.
        tokenizer: its base's.
        batch_tokens: the most tokens of a forward pass.
    """

    def __init__(self, arm: PeftModel, tokenizer: PreTrainedTokenizerBase, *, batch_tokens: int = 4096) -> None:
        self.names = tuner_of(arm).adapter_config().names
        self._arm, self._tokenizer, self._batch_tokens = arm, tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Scores:
        """As `Scorer`; in nats per token."""
        rows = []
        for prompt, reply in zip(prompts, replies, strict=True):
            rows.append(Completion(0, *templated(self._tokenizer, prompt.messages(), [_said(reply)])))
        pad: Any = self._tokenizer.eos_token_id
        options = {"pad_token_id": pad, "batch_tokens": self._batch_tokens}
        tuner = tuner_of(self._arm)
        adapter = tuner.one_adapter()
        with self._arm.disable_adapter():
            base = completion_log_probs(self._arm, rows, **options)
        columns = []
        for name in self.names:
            p = tuner.preference_weights(Preference.one_hot(name, objectives=self.names), adapter)
            with tuner.preference_state.using(adapter, p):
                columns.append(completion_log_probs(self._arm, rows, **options) - base)
        tokens = torch.tensor([len(row.completion) for row in rows])
        return (torch.stack(columns, dim=1) / tokens[:, None]).double().numpy()


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
            raise ValueError(f"the model has {count} outputs, but {len(self.names)} are named: {list(self.names)}")
        if tokenizer.chat_template is None:
            raise ValueError("the tokenizer has no chat template, so that a conversation cannot be shown to the model")
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Scores:
        """As `Scorer`; logits."""
        texts = [
            str(self._tokenizer.apply_chat_template([*prompt.messages(), _said(reply)], tokenize=False))
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


def _said(reply: str) -> dict[str, str]:
    return {"role": "assistant", "content": reply}
