"""A chat model with its guide, and replies under several preferences: what `demo` and `generate` show."""

import copy
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, set_seed
from transformers.utils.logging import disable_progress_bar

from hf_prosocial.arm import arm_objectives, check_names, load_arm
from hf_prosocial.assets import RELEASED_GATED, released_arm, vector_source
from hf_prosocial.decoding import GatedModel, ProSocialProcessor
from hf_prosocial.direg import HarmVector
from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.io import without_known_warnings
from hf_prosocial.models import SMOLLM2, find_base, preferred_device, prompt_batch, replies_to
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference
from hf_prosocial.records import scale_beside


@dataclass(frozen=True)
class SafeEdit:
    """θ_s = θ − λ · τ_m: the vector, and λ."""

    vector: HarmVector
    scale: float


def parsed_preferences(arm: str | None, preferences: Sequence[str]) -> list[Preference]:
    """The preferences over an adapter's objectives, read before any model is loaded; the uniform one if none is given.

    Raises:
        OSError: no such adapter.
        ProsocialError: a preference that cannot be read.
    """
    objectives = arm_objectives(arm or released_arm())
    parsed = [Preference.parse(text, objectives=objectives) for text in preferences]
    return parsed or [Preference.uniform(objectives=objectives)]


Edit = SafeEdit | GatedHarmVector


def asked_edit(base: str | None, vector: str | None, scale: float | None) -> Edit | None:
    """Which harm vector to subtract, and how much of it; None where nothing is subtracted.

    Args:
        base: as `find_base` takes it.
        vector: a vector's file, directory or Hub id, "released" or "released-gated"; by default the last for
            SmolLM2-135M-Instruct, and none for another base.
        scale: λ, 0 for none; by default what the vector itself or the choice.json beside it says.

    Raises:
        ProsocialError: λ without a vector, or a vector without λ.
    """
    if scale == 0:
        return None
    if vector is None:
        if base not in (None, SMOLLM2):
            if scale is not None:
                raise ProsocialError(f"λ is {scale:g}, but no harm vector was named, and {base} is not edited")
            return None
        vector = RELEASED_GATED
    source = vector_source(vector)
    if GatedHarmVector.is_at(source):
        found = GatedHarmVector.from_pretrained(source)
        return found if scale is None else found.with_scale(scale)
    return SafeEdit(HarmVector.from_pretrained(source), scale_beside(source) if scale is None else scale)


def about_edit(edit: Edit | None) -> str:
    """What was subtracted, in words; empty where nothing was."""
    if edit is None:
        return ""
    if isinstance(edit, GatedHarmVector):
        return f"less {edit.scale:g} times its harm vector where a gate takes the message for harmful"
    return f"less {edit.scale:g} times its harm vector"


def about_gate(opens: float) -> str:
    """What follows from how far the gate opens, in words."""
    left = f"{100 * (1 - opens):.0f} %" if opens < 1 else "none"
    return f"the gate takes the message for harmful, and is {100 * opens:.0f} % open: {left} of the guidance is left"


WHERE_HELP_IS = (
    "In danger, or thinking of suicide? Call your country's emergency number (112, 911, 999, 000), or find somebody to "
    "talk to at findahelpline.com."
)
"""Shown wherever people may type, whatever a model answers."""


@dataclass(frozen=True)
class ChatSession:
    """A chat model, the ARM that shares its weights, and where they come from.

    Attributes:
        base: θ, unguided.
        safe_base: θ_s, what is guided; the base itself where no harm vector is subtracted.
        tokenizer: the base's.
        arm: on the base's weights, which it was trained on.
        source: where the base was found, as a sentence.
        edit: what is subtracted.
    """

    base: Any  # PreTrainedModels with generate, for which there is no type.
    safe_base: Any
    tokenizer: PreTrainedTokenizerBase
    arm: PeftModel
    source: str
    edit: Edit | None

    @classmethod
    def load(
        cls,
        base: str | None,
        arm: str | None,
        edit: Edit | None,
        allow_mismatch: Collection[str] = (),
        arm_base: str | None = None,
    ) -> "ChatSession":
        """The base, its ARM on the same copy of the weights, and the safe base; the hashes of the weights are checked.

        Args:
            base: as `find_base` takes it.
            arm: the adapter; by default the released one.
            edit: the harm vector and λ; None guides the base itself.
            allow_mismatch: as `load_arm` takes it.
            arm_base: the smaller model that the adapter was trained on, where that is not the base.

        Raises:
            OSError, ProsocialError: no such base, or an adapter or a harm vector that does not belong to it.
        """
        if not sys.stderr.isatty():
            disable_progress_bar()  # transformers' own, for loading weights
        check_names(allow_mismatch)
        source = find_base(base)
        model, tokenizer = source.load(device=preferred_device())
        safe: Any = model
        if isinstance(edit, GatedHarmVector):
            safe = GatedModel(model, edit, allow_mismatch, tokenizer)
        elif edit is not None:
            safe = copy.deepcopy(model)
            edit.vector.subtract_from(safe, edit.scale, allow_mismatch="base_weights" in allow_mismatch)
        with without_known_warnings():
            own = model if arm_base is None else find_base(arm_base).load(model.dtype, device=preferred_device())[0]
            loaded = load_arm(arm or released_arm(), own, tokenizer=tokenizer, allow_mismatch=allow_mismatch)
        return cls(model, safe, tokenizer, loaded, source.description, edit)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The ARM's objectives."""
        return tuner_of(self.arm).adapter_config().names

    def gate_opens(self, conversation: list[dict[str, str]]) -> float | None:
        """How far the gate opens for a conversation, by its most harmful message, from 0 to 1; None without a gate."""
        if not isinstance(self.edit, GatedHarmVector):
            return None
        batch = prompt_batch(self.tokenizer, [conversation])
        ids, mask = (rows.to(self.base.device) for rows in (batch.input_ids, batch.attention_mask))
        return float(self.edit.with_scale(1.0).scales(self.base, ids, mask))

    def reply(
        self,
        message: str,
        preferences: Sequence[Preference],
        *,
        beta: float,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        progress: "OnToken | None" = None,
    ) -> list[str]:
        """One reply to a message under each preference, generated as one batch with a preference per row.

        Raises:
            ProsocialError: as `ProSocialProcessor`.
        """
        processor = ProSocialProcessor(self.arm, preferences, beta=beta, tokenizer=self.tokenizer)
        options: dict[str, Any] = (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        set_seed(seed)
        with processor.must_guide():
            return replies_to(
                self.safe_base,
                self.tokenizer,
                [[{"role": "user", "content": message}]] * len(preferences),
                max_new_tokens,
                options | {"logits_processor": [processor], "stopping_criteria": [progress] if progress else None},
            )


class OnToken(StoppingCriteria):
    """Reports each generated token to a callback; never stops anything."""

    def __init__(self, advance: Callable[[], object]) -> None:
        self._advance = advance

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: object, **kwargs: object
    ) -> Bool[Tensor, " rows"]:
        """Called by generate after each token. (transformers fixes this signature.)"""
        self._advance()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
