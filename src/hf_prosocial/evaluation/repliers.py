"""How each variant of a model answers: plainly, guided, or told the preference in words."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase, set_seed

from hf_prosocial.decoding import GuidedProcessor, ProSocialProcessor
from hf_prosocial.genarm import GenArm, GenArmProcessor
from hf_prosocial.models import continuations_of, prompt_batch, prompt_text
from hf_prosocial.preference import Preference

Guide = Callable[[Sequence[Preference], Tensor], GuidedProcessor]
"""Makes the processor of a batch, from a preference and a row of the attention mask for each prompt."""


@runtime_checkable
class Replier(Protocol):
    """Answers one message under each of as many preferences, in one batch."""

    @property
    def heeds_preference(self) -> bool:
        """Whether another preference could give another reply."""
        ...

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
        tokenizer: its tokenizer.
        max_new_tokens: the most of a reply.
        options: of `generate`.
        guide: None answers without regard to preferences.
        in_words: tells the model the preference as a system message, the baseline of prompting.
        system: a system message, whatever the preference.
        seed: of sampling; with what a batch asks it decides the batch's replies, whatever was generated before.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    max_new_tokens: int
    options: Mapping[str, Any]
    guide: Guide | None = None
    in_words: bool = False
    seed: int = 0
    system: str | None = None

    @property
    def heeds_preference(self) -> bool:
        """Whether another preference could give another reply."""
        return self.guide is not None or self.in_words

    def __call__(self, conversations: Sequence[list[dict[str, str]]], preferences: Sequence[Preference]) -> list[str]:
        """A reply to each conversation, under the preference beside it."""
        said = [self._said(*pair) for pair in zip(conversations, preferences, strict=True)]
        if self.options.get("do_sample"):
            asked = json.dumps([self.seed, said, [str(preference) for preference in preferences]])
            set_seed(int.from_bytes(hashlib.sha256(asked.encode()).digest()[:4]))
        batch = prompt_batch(self.tokenizer, said)
        if self.guide is None:
            return continuations_of(self.model, self.tokenizer, batch, self.max_new_tokens, self.options)
        with self.guide(preferences, batch.attention_mask).must_guide() as processor:
            options = {**self.options, "logits_processor": [processor]}
            return continuations_of(self.model, self.tokenizer, batch, self.max_new_tokens, options)

    def length(self, conversation: list[dict[str, str]], preference: Preference) -> int:
        """Tokens of the prompt that the model would read."""
        text = prompt_text(self.tokenizer, self._said(conversation, preference))
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _said(self, conversation: list[dict[str, str]], preference: Preference) -> list[dict[str, str]]:
        said = preference_in_words(preference) if self.in_words else self.system
        return conversation if said is None else [{"role": "system", "content": said}, *conversation]


def guided_by(
    arm: PeftModel | GenArm,
    tokenizer: PreTrainedTokenizerBase,
    beta: float,
    safe_set: float | None = None,
    min_entropy: float = 0.0,
) -> Guide:
    """A PV-ARM's or a GenARM's processor for each batch, a preference per row."""

    def guide(preferences: Sequence[Preference], mask: Tensor) -> GuidedProcessor:
        # The mask is told, for a pad token may be one that prompts begin with.
        if isinstance(arm, GenArm):
            return GenArmProcessor(arm, list(preferences), beta, safe_set, tokenizer, mask)
        return ProSocialProcessor(arm, list(preferences), beta, safe_set, tokenizer, mask, min_entropy)

    return guide


def preference_in_words(preference: Preference) -> str:
    """The preference as an instruction, weights as percentages.

    >>> preference_in_words(Preference(empathy=0.7, truthfulness=0.3))
    'In your reply, weigh these qualities as follows: empathy 70 %, truthfulness 30 %.'
    """
    weighed = [f"{name.replace('_', '-')} {100 * weight:g} %" for name, weight in preference.items() if weight > 0]
    return f"In your reply, weigh these qualities as follows: {', '.join(weighed)}."
