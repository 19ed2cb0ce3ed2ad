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
    processor = ProSocialProcessor(chat.arm, preferences, beta=beta, safe_set=safe_set, tokenizer=chat.tokenizer)
    options: dict[str, Any] = (
        {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    )
    set_seed(seed)
    with processor.must_guide():
        return _generated(
            chat, message, len(preferences), progress, options | {"logits_processor": [processor]}, max_new_tokens
        )


def base_reply(chat: Chat, message: str, *, max_new_tokens: int, progress: OnToken | None = None) -> str:
    """The base's own greedy reply to a message, unguided."""
    return _generated(chat, message, 1, progress, {"do_sample": False}, max_new_tokens)[0]


def _generated(
    chat: Chat, message: str, rows: int, progress: OnToken | None, options: dict[str, Any], max_new_tokens: int
) -> list[str]:
    text = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    inputs = chat.tokenizer([text] * rows, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        output = chat.model.generate(
            **inputs,
            **options,
            stopping_criteria=[progress] if progress else None,
            max_new_tokens=max_new_tokens,
        )
    new = output[:, inputs["input_ids"].shape[1] :]
    return [reply.strip() for reply in chat.tokenizer.batch_decode(new, skip_special_tokens=True)]
