"""How each variant of a model answers: plainly, guided, or told the preference in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from hf_prosocial.decoding import ProSocialProcessor
from hf_prosocial.decoding.guided_processor import GuidedProcessor
from hf_prosocial.genarm import GenArm, GenArmProcessor
from hf_prosocial.preference import Preference

Guide = Callable[[Sequence[Preference]], GuidedProcessor]


@runtime_checkable
class Replier(Protocol):
    """Answers one message under each of as many preferences, in one batch."""

    def __call__(self, conversations: Sequence[list[dict[str, str]]], preferences: Sequence[Preference]) -> list[str]:
        """A reply to each conversation, under the preference beside it."""
        ...

    def length(self, conversation: list[dict[str, str]], preference: Preference) -> int:
        """Tokens of the prompt that the model would read."""
        ...


@dataclass(frozen=True)
class ChatReplier:
    """Replies through the chat template by `model.generate`.

    Attributes:
        model: a transformers model.
        tokenizer: its tokenizer, padding on the left.
        options: of `generate`; `max_new_tokens` among them.
        guide: makes the processor of a batch from its preferences; None answers without regard to them.
        in_words: tells the model the preference as a system message, the baseline of prompting.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    options: dict[str, Any]
    guide: Guide | None = None
    in_words: bool = False

    def __call__(self, conversations: Sequence[list[dict[str, str]]], preferences: Sequence[Preference]) -> list[str]:
        """As `Replier`."""
        texts = [self._prompt(*pair) for pair in zip(conversations, preferences, strict=True)]
        inputs: Any = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(self.model.device)
        with torch.no_grad():
            if self.guide is None:
                output = self.model.generate(**inputs, **self.options)
            else:
                with self.guide(preferences).must_guide() as processor:
                    output = self.model.generate(**inputs, **self.options, logits_processor=[processor])
        new = output[:, inputs["input_ids"].shape[1] :]
        return [reply.strip() for reply in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def length(self, conversation: list[dict[str, str]], preference: Preference) -> int:
        """As `Replier`."""
        return len(self.tokenizer(self._prompt(conversation, preference), add_special_tokens=False)["input_ids"])

    def _prompt(self, conversation: list[dict[str, str]], preference: Preference) -> str:
        if self.in_words:
            conversation = [{"role": "system", "content": preference_in_words(preference)}, *conversation]
        return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))


def guided_by(
    arm: PeftModel | GenArm, tokenizer: PreTrainedTokenizerBase, beta: float, safe_set: float | None = None
) -> Guide:
    """A PV-ARM's or a GenARM's processor for each batch, a preference per row."""

    def guide(preferences: Sequence[Preference]) -> GuidedProcessor:
        if isinstance(arm, GenArm):
            return GenArmProcessor(arm, list(preferences), beta, safe_set, tokenizer)
        return ProSocialProcessor(arm, list(preferences), beta, safe_set, tokenizer)

    return guide


def preference_in_words(preference: Preference) -> str:
    """The preference as an instruction, weights as percentages.

    >>> preference_in_words(Preference(empathy=0.7, truthfulness=0.3))
    'In your reply, weigh these qualities as follows: empathy 70 %, truthfulness 30 %.'
    """
    weighed = [f"{name.replace('_', '-')} {100 * weight:g} %" for name, weight in preference.items() if weight > 0]
    return f"In your reply, weigh these qualities as follows: {', '.join(weighed)}."
