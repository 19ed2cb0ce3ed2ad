"""GenARM's guided inference: k reward models, their log-probabilities mixed by the preference."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hf_prosocial.decoding import Follower, GuidedProcessor, Reader, refuse_foreign_assistant
from hf_prosocial.errors import ProsocialError
from hf_prosocial.precision import at_least_fp32
from hf_prosocial.preference import Preferences, weights_of

from .model import GenArm


class GenArmProcessor(GuidedProcessor):
    """Guides `model.generate` by a GenARM: scores = log_softmax(base) + β · Σ_i p_i log π_i, renormalised.

    The baseline of `ProSocialProcessor`, with its arguments, modes and errors; each step costs a row a forward pass for
    every objective that its preference weighs.

    Args:
        arm: a `GenArm`.
        preference: one, or one for each prompt.
        beta: strength of guidance, >= 0.
        safe_set: ε in (0, 1], or None.
        tokenizer: the base's, to compare with the adapters' record.
        prompt_attention_mask: of the prompts, (prompts, length), where padding cannot be distinguished from tokens.

    Raises:
        ValueError, GuidanceLostError: as `ProSocialProcessor`.

    Source: GenARM, arXiv 2410.08193.
    """

    def __init__(
        self,
        arm: GenArm,
        preference: Preferences,
        beta: float = 1.0,
        safe_set: float | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt_attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
        super().__init__(GenArmGuide(arm), preference, beta, safe_set, tokenizer, prompt_attention_mask)


class GenArmGuide:
    """A GenARM as a `Guide`: each objective's adapter follows the generation with a cache of its own."""

    def __init__(self, genarm: GenArm) -> None:
        self._genarm = genarm
        self.arm, self.model = genarm.model, genarm.wrapped
        self.tokenizer_hash = genarm.record.tokenizer_hash

    def weights(self, preference: Preferences) -> Float[Tensor, "*prompts k"]:
        """The preference's weights p, on the model's device."""
        return weights_of(preference, self._genarm.objectives).to(self.model.device)

    def check(self) -> None:
        """Raise where the adapters are no longer those that the guide was made for.

        Raises:
            ValueError: an objective's adapter was deleted.
        """
        missing = [name for name in self._genarm.objectives if name not in self.arm.peft_config]
        if missing:
            raise ProsocialError(f"the adapters {missing} are gone from the GenARM; load it again")

    @cached_property
    def _followers(self) -> list[Follower]:
        with self._genarm.using(self._genarm.objectives[0]):
            reader = Reader(self.model)
        return [Follower(reader, refuse_foreign_assistant) for _ in self._genarm.objectives]

    def try_out(self) -> None:
        """Find out how the model can follow, unless that is known: some forward passes of a few tokens."""
        assert self._followers

    def begin(self) -> None:
        """A generation begins; a GenARM's adapters follow from nothing else than their weights."""

    def reset(self) -> None:
        """Forget all rows; the weights have changed."""
        for follower in self._followers:
            follower.reset()

    def next_logits(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        lanes: Int[Tensor, " rows"],
        weights: Float[Tensor, "*rows k"],
    ) -> Float[Tensor, "rows vocabulary"]:
        """log π_r(· | p) of the token after the last column, up to a constant in each row.

        : Σ_i p_i log π_i, fp32; an adapter runs on the rows that weigh it, and on no other.
        """
        weights = weights.expand(len(input_ids), -1)
        mixed = None
        for name, follower, weight in zip(self._genarm.objectives, self._followers, weights.unbind(-1), strict=True):
            weighed = weight.nonzero()[:, 0]
            if len(weighed) == 0:
                continue
            # One lane: an adapter's keys and values do not depend on the preference.
            same = torch.zeros_like(weighed)
            with self._genarm.using(name):
                own = at_least_fp32(follower.next_logits(input_ids[weighed], attention_mask[weighed], same))
            if mixed is None:
                mixed = own.new_zeros(len(input_ids), own.shape[-1])
            mixed.index_add_(0, weighed, weight[weighed, None] * own)
        if mixed is None:
            raise ProsocialError(f"a preference weighs no objective: {weights.tolist()}")
        return mixed
