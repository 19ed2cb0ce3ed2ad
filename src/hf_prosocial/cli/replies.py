"""Replies of a chat model under several preferences, in one batch: what `demo` and `generate` show."""

import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, set_seed
from transformers.utils.logging import disable_progress_bar

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.bases import find_base
from hf_prosocial.decoding import ProSocialProcessor
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference


@dataclass(frozen=True)
class Chat:
    """A chat model, the ARM that shares its weights, and where they come from."""

    model: Any  # A PreTrainedModel with generate, for which there is no type.
    tokenizer: PreTrainedTokenizerBase
    arm: PeftModel
    source: str

    @property
    def objectives(self) -> tuple[str, ...]:
        """The ARM's objectives."""
        return tuner_of(self.arm).adapter_config().names


class OnToken(StoppingCriteria):
    """Reports each generated token to a callback; never stops anything."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: object, **kwargs: object
    ) -> Bool[Tensor, " rows"]:
        """Called by generate after each token. (transformers fixes this signature.)"""
        self._advance()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def load_chat(base: str | None, arm: str | None, allow_mismatch: Collection[str]) -> Chat:
    """The base and its ARM on one copy of the weights; the weight hash is checked."""
    if not sys.stderr.isatty():
        disable_progress_bar()  # transformers' own, for loading weights
    source = find_base(base)
    model, tokenizer = source.load()
    with warnings.catch_warnings():
        # PEFT reads a name that transformers deprecates; there is nothing that a reader of replies could do.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        loaded = load_arm(arm or released_arm(), model, tokenizer=tokenizer, allow_mismatch=allow_mismatch)
    return Chat(model, tokenizer, loaded, source.description)


def reply(
    chat: Chat,
    message: str,
    preferences: Sequence[Preference],
    *,
    beta: float,
    safe_set: float | None = None,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    progress: OnToken | None = None,
) -> list[str]:
    """One reply to a message under each preference, generated as one batch with a preference per row."""
    text = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    inputs = chat.tokenizer([text] * len(preferences), return_tensors="pt", add_special_tokens=False)
    processor = ProSocialProcessor(chat.arm, preferences, beta=beta, safe_set=safe_set, tokenizer=chat.tokenizer)
    set_seed(seed)
    with torch.no_grad(), processor.must_guide():
        output = chat.model.generate(
            **inputs,
            logits_processor=[processor],
            stopping_criteria=[progress] if progress else None,
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            **({"temperature": temperature} if temperature > 0 else {}),
        )
    new = output[:, inputs["input_ids"].shape[1] :]
    return [reply.strip() for reply in chat.tokenizer.batch_decode(new, skip_special_tokens=True)]
