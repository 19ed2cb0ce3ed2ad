"""What a processor asks of the model that guides, and the PV-ARM as one."""

import sys
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.generation.candidate_generator import AssistedCandidateGeneratorDifferentTokenizers

from hf_prosocial.errors import ProsocialError
from hf_prosocial.pblora import PBLoraModel, tuner_of
from hf_prosocial.preference import Preferences

from .follower import Follower
from .reader import Reader


class GuidanceLostError(ProsocialError, RuntimeError):
    """Text was generated, or would be, without the guidance that was asked for."""


@runtime_checkable
class Guide(Protocol):
    """A reward model that follows a generation.

    Attributes:
        arm: the PEFT model; in evaluation mode while it guides.
        model: the transformers model in it.
        tokenizer_hash: of the tokenizer that it was trained with, if that was recorded.
    """

    arm: PeftModel
    model: PreTrainedModel
    tokenizer_hash: str | None

    def weights(self, preference: Preferences) -> Float[Tensor, "*prompts k"]:
        """The preference's weights p, on the model's device."""
        ...

    def check(self) -> None:
        """Raise where the adapters are no longer those that the guide was made for."""
        ...

    def try_out(self) -> None:
        """Find out how the model can follow, unless that is known; raise where it cannot."""
        ...

    def begin(self) -> None:
        """A generation begins; raise where it would be guided wrongly."""
        ...

    def reset(self) -> None:
        """Forget all rows; the weights have changed."""
        ...

    def next_logits(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        lanes: Int[Tensor, " rows"],
        weights: Float[Tensor, "*rows k"],
    ) -> Float[Tensor, "rows vocabulary"]:
        """log π_r(· | p) of the token after the last column, up to a constant in each row.

        Args:
            input_ids: the rows so far, int64, on the model's device.
            attention_mask: 1 for tokens and 0 for padding, likewise.
            lanes: rows with different lanes have different preferences.
            weights: p of each row, or the one p of all rows.
        """
        ...


class PBLoraGuide:
    """A PV-ARM as a guide: one model, whose adapter reads the preference.

    Args:
        arm: with one active PBLoRA adapter.
    """

    def __init__(self, arm: PeftModel) -> None:
        self._tuner = tuner_of(arm)
        self._tuner.refuse_edited_base()
        self._adapter = self._tuner.one_adapter()
        self.arm, self.model = arm, self._tuner.wrapped
        self.tokenizer_hash = self._tuner.adapter_config().tokenizer_hash
        self._kept: tuple[Tensor | None, dict] = None, {}

    def begin(self) -> None:
        """A generation begins; raise where the base was edited since the ARM was loaded on it."""
        self._tuner.refuse_edited_base()
        self._kept = None, {}

    def weights(self, preference: Preferences) -> Float[Tensor, "*prompts k"]:
        """The preference's weights p, on the model's device."""
        return self._tuner.preference_weights(preference, self._adapter)

    def check(self) -> None:
        """Raise where the adapters are no longer those that the guide was made for."""
        check_ready(self._tuner, self._adapter)

    @cached_property
    def _follower(self) -> Follower:
        return Follower(arm_reader(self._tuner, self._adapter), refuse_foreign_assistant)

    def try_out(self) -> None:
        """Find out how the model can follow, unless that is known: some forward passes of a few tokens."""
        assert self._follower

    def reset(self) -> None:
        """Forget all rows; the weights have changed."""
        self._follower.reset()

    def next_logits(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        lanes: Int[Tensor, " rows"],
        weights: Float[Tensor, "*rows k"],
    ) -> Float[Tensor, "rows vocabulary"]:
        """log π_r(· | p) of the token after the last column, up to a constant in each row, by one forward pass."""
        follower = self._follower
        kept_for, kept = self._kept
        if kept_for is not weights:
            kept = {}
            self._kept = weights, kept
        shared = kept if weights.ndim == 1 else None  # Layers keep nothing of a preference per row.
        with self._tuner.preference_state.using(self._adapter, weights, kept=shared):
            return follower.next_logits(input_ids, attention_mask, lanes)


def arm_reader(tuner: PBLoraModel, adapter: str) -> Reader:
    """A reader of an ARM. Whichever preference is in force while its model is tried does not matter.

    Raises:
        ProsocialError: as `Reader`.
    """
    k = len(tuner.adapter_config(adapter).names)
    with tuner.preference_state.using(adapter, torch.full((k,), 1 / k)):
        return Reader(tuner.wrapped)


def check_ready(tuner: PBLoraModel, adapter: str) -> None:
    """Refuse an ARM that would guide wrongly now, whatever it was when it was taken as a guide.

    Raises:
        ValueError: it is in training mode, another adapter is active, or the adapter is disabled.
    """
    check_evaluating(tuner)
    if tuner.active_adapters != [adapter]:
        raise ProsocialError(
            f"the ARM's active adapter was {adapter!r} and is now {tuner.active_adapters}; make a new "
            "ProSocialProcessor after set_adapter"
        )
    if tuner.disabled:
        raise ProsocialError("the ARM's adapter is disabled or unloaded, and would guide nowhere; enable it again")


def check_evaluating(model: nn.Module) -> None:
    """Refuse a guide in training mode.

    Raises:
        ValueError: it is.
    """
    if model.training:
        raise ProsocialError("the ARM is in training mode, where dropout makes it random; call arm.eval()")


def refuse_foreign_assistant() -> None:
    """Raise if an assistant with another tokenizer is drafting; only the call stack of generate tells."""
    frame = sys._getframe(1)
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), AssistedCandidateGeneratorDifferentTokenizers):
            raise GuidanceLostError(
                "assisted decoding with an assistant of another tokenizer shows logits processors the assistant's "
                "token ids, which the ARM cannot read; use an assistant that shares the model's tokenizer"
            )
        frame = frame.f_back
