"""A large base, guided by a small ARM that drafts for it."""

from typing import Any

from jaxtyping import Int
from peft import PeftModel
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import CACHE, given_cache
from hf_prosocial.pblora import tuner_of
from hf_prosocial.precision import at_least_fp32
from hf_prosocial.preference import Preference

from .drafts import ArmDrafts, SequenceFollower
from .gated_model import GatedModel
from .guidance import check_strength, guided_log_probs
from .guide import check_ready
from .guided_model import GuidedModel
from .guided_processor import GuidedProcessor
from .per_thread import PerThread
from .rotary import rotary_change
from .vocabulary import shared_width
from .way import way_of
from .wrapping_model import WrappingModel

# What transformers says of models whose cache takes no rejected token back.
_CANNOT_DRAFT = ("Assisted decoding requires a cache", "is not compatible with `cache`")


class _Latest(PerThread):
    """The drafts of the thread's last generation, and how often the ARM's weights had been written to."""

    drafts: ArmDrafts | None = None
    version: int | None = None


class SpeculativeGuidedModel(WrappingModel):
    """Guided decoding of a large base by a small ARM, several tokens for each of the base's forward passes.

    Guidance needs the ARM's distribution of every token anyway. So the ARM draws γ tokens ahead, the base reads them in
    one forward pass, and as many are kept as the speculative rule allows, so that the text has exactly the distribution
    of the base with a `ProSocialProcessor` (greedy: the same tokens). The loop is transformers' assisted decoding.

        guided = SpeculativeGuidedModel(large, load_arm("small-arm", small), Preference.one_hot("empathy"))
        guided.generate(**inputs)         # one prompt at a time, greedy or sampled
        guided.acceptance_rate

    Args:
        base: the large model.
        arm: from `load_arm`, on a smaller base that shares the tokenizer, in evaluation mode.
        preference: of the prompt.
        beta: strength of guidance, >= 0.
        safe_set: ε in (0, 1], or None.
        draft_tokens: γ >= 1. More pay where the ARM is much smaller and often right.

    Raises:
        ValueError: bad arguments, or a base without a cache; at generate, several prompts, beams, padding, a second
            guide, or a base that transformers cannot draft for.

    Source: METHOD, section 3; speculative sampling, arXiv 2211.17192, algorithm 1.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        arm: PeftModel,
        preference: Preference,
        beta: float = 1.0,
        safe_set: float | None = None,
        draft_tokens: int = 3,
    ) -> None:
        if isinstance(base, GuidedModel):
            raise ProsocialError("the base is guided already; pass the model inside")
        if isinstance(base, GatedModel):
            raise ProsocialError("the ARM cannot draft behind a gate; guide by GuidedModel(..., harm_vector=)")
        check_strength(beta, safe_set)
        if draft_tokens < 1:
            raise ProsocialError(f"draft_tokens must be 1 or more, found {draft_tokens}")
        if not way_of(base).cached:
            raise ProsocialError(
                f"{type(base).__name__} has no cache that gives what whole rows give, which drafting stands on; guide "
                "by ProSocialProcessor(arm, preference)"
            )
        super().__init__(base.config)
        tuner = tuner_of(arm)
        tuner.refuse_edited_base()
        self.base, self.arm, self.beta, self.safe_set = base, arm, float(beta), safe_set
        self.draft_tokens = draft_tokens
        self.generation_config = base.generation_config
        self._tuner, self._adapter = tuner, tuner.one_adapter()
        self._preference = tuner.preference_weights(preference, self._adapter)
        self._follower = SequenceFollower(tuner, self._adapter)
        configs = (base.config, tuner.wrapped.config)
        self._changes = [change for change in map(rotary_change, configs) if change is not None]
        self._latest = _Latest()
        self.eval()

    @property
    def acceptance_rate(self) -> float:
        """The share of the drafted tokens that was accepted at the thread's last generate.

        Raises:
            ValueError: nothing was drafted yet.
        """
        drafts = self._latest.drafts
        if drafts is None or drafts.drafted == 0:
            raise ProsocialError("nothing was drafted yet; call generate first, in this thread")
        return drafts.accepted / drafts.drafted

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' `generate`, in its assisted mode, with the ARM as the assistant."""
        if kwargs.get("assistant_model") is not None or kwargs.get("prompt_lookup_num_tokens") is not None:
            raise ProsocialError("the ARM drafts already; no other assistant, and no prompt lookup")
        cache = given_cache(kwargs.get("cache"), kwargs.get("past_key_values"))
        if cache is not None and int(cache.get_seq_length()) > 0:
            raise ProsocialError(
                "transformers' assisted generation does not go on from a filled cache as plain generation does; leave "
                "past_key_values out, and the rows are read anew"
            )
        generation: Any = super()
        try:
            return generation.generate(*args, assistant_model=self.arm.base_model.model, **kwargs)
        except (ValueError, RuntimeError) as error:
            if not any(reason in str(error) for reason in _CANNOT_DRAFT):
                raise
            raise ProsocialError(
                f"{type(self.base).__name__} cannot be drafted for ({error}); guide by ProSocialProcessor(arm, "
                "preference)"
            ) from error

    def forward(
        self,
        input_ids: Int[Tensor, "rows tokens"],
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        sequence: Int[Tensor, "rows length"] | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Guided log-probabilities after each of the tokens, fp32, (1, tokens, vocabulary).

        Args:
            input_ids: the tokens that are not in the cache yet.
            attention_mask: 1 for tokens and 0 for padding.
            position_ids: (1, tokens), int64.
            past_key_values: the base's cache, or none.
            use_cache: whether a cache is returned.
            logits_to_keep: how many of the last columns are returned, or which; 0 is all.
            cache: the newer name of `past_key_values`.
            sequence: all tokens so far; `generate` passes it. By default `input_ids`, where there is no cache.
            kwargs: further inputs of the base.

        Raises:
            ValueError: several rows, padding, or a cache without the sequence.
        """
        cache = given_cache(cache, past_key_values)
        sequence = self._checked_sequence(input_ids, attention_mask, cache, sequence)
        output = self.base(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **{CACHE: cache},
            **kwargs,
        )
        version = sum(weight._version for weight in self.arm.parameters() if not weight.is_inference())
        if version != self._latest.version:
            self._follower.reset()
            self._latest.version = version
        own = at_least_fp32(output.logits)
        arm = self._follower.logits(sequence.to(self.arm.device), own.shape[1], self._preference).to(own.device)
        shared_width(own.shape[-1], arm.shape[-1], None)
        logits = guided_log_probs(own, arm, beta=self.beta, safe_set=self.safe_set)
        return CausalLMOutputWithPast(logits=logits, **{CACHE: output.get(CACHE)})

    def _checked_sequence(
        self, input_ids: Tensor, attention_mask: Any, cache: Cache | None, sequence: Tensor | None
    ) -> Tensor:
        check_ready(self._tuner, self._adapter)
        if len(input_ids) != 1:
            raise ProsocialError(f"one prompt at a time can be drafted for, without beams; found {len(input_ids)} rows")
        if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 and bool((attention_mask == 0).any()):
            raise ProsocialError("the prompt is padded; with one prompt there is nothing to pad for")
        if sequence is not None:
            return sequence
        # generate passes the sequence, and looks at the weights when it begins.
        self._tuner.refuse_edited_base()
        self._follower.reset()
        if cache is not None and int(cache.get_seq_length()) > 0:
            raise ProsocialError("with a cache, the ARM needs all tokens so far: pass sequence=")
        return input_ids

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The base's, and the whole sequence for the ARM."""
        base: Any = self.base
        return base.prepare_inputs_for_generation(input_ids, *args, **kwargs) | {"sequence": input_ids}

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> ArmDrafts:
        settings, logits_processor = kwargs["generation_config"], kwargs["logits_processor"]
        if any(isinstance(processor, GuidedProcessor) for processor in logits_processor):
            raise ProsocialError("a ProSocialProcessor beside a SpeculativeGuidedModel would guide twice; leave it out")
        self._tuner.refuse_edited_base()
        self._follower.reset()
        self._latest.drafts = ArmDrafts(
            self._follower,
            self._preference,
            self.draft_tokens,
            settings.max_length,
            bool(settings.do_sample),
            logits_processor,
            self._changes,
        )
        return self._latest.drafts
