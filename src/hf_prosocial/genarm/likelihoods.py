"""A base guided by a GenARM, for what asks for likelihoods rather than for text."""

from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_prosocial.decoding import base_logits, check_strength, guided_log_probs, whole_logits
from hf_prosocial.errors import ProsocialError
from hf_prosocial.preference import Preference, weights_of

from .model import GenArm


class GuidedByGenArm(nn.Module):
    """log_softmax(base) + β · Σ_i p_i log π_i, renormalised, of whole sequences: what `GenArmProcessor` does to text.

    Args:
        base: the model to guide, of the GenARM's vocabulary.
        arm: a `GenArm`.
        preference: one for all rows.
        beta: strength of guidance, >= 0.
        safe_set: ε in (0, 1], or None.

    Raises:
        ValueError: bad arguments.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        arm: GenArm,
        preference: Preference,
        beta: float = 1.0,
        safe_set: float | None = None,
    ) -> None:
        super().__init__()
        check_strength(beta, safe_set)
        self.base, self.beta, self.safe_set = base, beta, safe_set
        # Not a submodule's attribute: the GenARM shares the base's weights and moves with them.
        self._arm = (arm,)
        self._weights = weights_of(preference, arm.objectives).tolist()
        self.eval()

    def forward(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Tensor | None = None, use_cache: bool = False
    ) -> CausalLMOutputWithPast:
        """Guided log-probabilities of each next token, fp32, (rows, tokens, vocabulary).

        Raises:
            ValueError: `use_cache`: whole sequences alone are scored here.
        """
        if use_cache:
            raise ProsocialError(
                "whole sequences alone are scored here, without a cache; pass a GenArmProcessor for text"
            )
        (arm,) = self._arm
        own, share = base_logits(self.base, input_ids, attention_mask)
        mixed = own.new_zeros(())
        for name, weight in zip(arm.objectives, self._weights, strict=True):
            if weight > 0:
                with arm.using(name):
                    # Logits do: what a row's log-softmax subtracts, the last one takes away again.
                    mixed = mixed + weight * whole_logits(arm.wrapped, input_ids, attention_mask).to(own.device)
        guided = guided_log_probs(own, mixed, beta=self.beta, safe_set=self.safe_set, share=share)
        return CausalLMOutputWithPast(logits=guided)
