"""A base and an ARM on weights of its own, as one model: for what asks for logits rather than for text."""

from typing import Any

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_prosocial.errors import ProsocialError
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference

from .guidance import check_strength, guided_log_probs
from .guide import check_ready
from .processor import ProSocialProcessor
from .vocabulary import check_tokenizer, shared_width
from .whole_sequences import base_logits, whole_logits
from .wrapping_model import WrappingModel


class GuidedPair(WrappingModel):
    """What `ProSocialProcessor` does to a base's text, also for its likelihoods: perplexity, multiple choice.

    Two forward passes where a `GuidedModel` needs one; for a base that the ARM is no adapter of, such as one that a
    harm vector was subtracted from. `generate` is the base's, with a processor.

    Args:
        base: the model to guide.
        arm: from `load_arm`, in evaluation mode.
        preference: one for all rows.
        beta: strength of guidance, >= 0.
        safe_set: ε in (0, 1], or None.
        tokenizer: both models'; see `ProSocialProcessor`.

    Raises:
        ValueError: bad arguments, or models whose vocabularies differ.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        arm: PeftModel,
        preference: Preference,
        beta: float = 1.0,
        safe_set: float | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        check_strength(beta, safe_set)
        tuner = tuner_of(arm)
        super().__init__(base.config)
        self.base, self.arm, self.beta, self.safe_set = base, arm, float(beta), safe_set
        self.generation_config = base.generation_config
        self._preference, self._tokenizer = preference, tokenizer
        self._tuner, self._adapter = tuner, tuner.one_adapter()
        self._weights = tuner.preference_weights(preference, self._adapter)
        if tokenizer is not None:
            check_tokenizer(tokenizer, tuner.adapter_config().tokenizer_hash)
        self.eval()

    def forward(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool = False,
    ) -> CausalLMOutputWithPast:
        """Guided log-probabilities of each next token, fp32, (rows, tokens, vocabulary); with `labels`, their loss.

        Raises:
            ValueError: `use_cache`: whole sequences alone are scored here; `generate` keeps caches of its own.
        """
        if use_cache:
            raise ProsocialError("a GuidedPair scores whole sequences, without a cache; call generate for text")
        check_ready(self._tuner, self._adapter)
        self._tuner.refuse_edited_base()
        own, share = base_logits(self.base, input_ids, attention_mask)
        with self._tuner.preference_state.using(self._adapter, self._weights):
            arm = whole_logits(self._tuner.wrapped, input_ids, attention_mask)
        guided = self._combined(own, arm.to(own.device), share)
        loss = None
        if labels is not None:
            loss = self.base.loss_function(logits=guided, labels=labels, vocab_size=guided.shape[-1])
        return CausalLMOutputWithPast(loss=loss, logits=guided)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's `generate`, with a `ProSocialProcessor` before other processors."""
        processor = ProSocialProcessor(
            self.arm,
            self._preference,
            self.beta,
            self.safe_set,
            self._tokenizer,
            prompt_attention_mask=kwargs.get("attention_mask"),
        )
        others = kwargs.pop("logits_processor", None) or []
        generation: Any = self.base.generate
        with processor.must_guide():
            return generation(*args, logits_processor=[processor, *others], **kwargs)

    def _combined(
        self,
        own: Float[Tensor, "rows tokens own"],
        arm: Float[Tensor, "rows tokens arm"],
        share: Float[Tensor, "rows 1 1"] | None,
    ) -> Float[Tensor, "rows tokens own"]:
        tokens = None if self._tokenizer is None else len(self._tokenizer)
        width = shared_width(own.shape[-1], arm.shape[-1], tokens)
        arm = torch.nn.functional.pad(arm[..., :width], (0, own.shape[-1] - width), value=-torch.inf)
        return guided_log_probs(own, arm, beta=self.beta, safe_set=self.safe_set, share=share)
