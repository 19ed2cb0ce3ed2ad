"""Base and guide in one forward pass, as one model."""

from contextvars import ContextVar
from typing import Any, cast

import torch
from jaxtyping import Float
from peft import LoraModel, PeftModel
from torch import Tensor
from transformers import Cache, DynamicCache, LogitsProcessorList, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.models import CACHE, base_parameters, given_cache, sharing_weights
from hf_prosocial.pblora import OBJECTIVE, pblora_of, tuner_of, without_adapters
from hf_prosocial.precision import at_least_fp32
from hf_prosocial.preference import Preference, Preferences

from .columns import named_columns
from .few_rows import use_few_rows
from .gated_rows import HARM_SCALES, GatedRows, Ungated, generating, scales_of_generation
from .guidance import check_strength, guided_log_probs
from .guide import check_ready
from .guided_processor import GuidedProcessor
from .lanes import Lanes
from .one_pass import check_one_pass
from .own_preference import OwnPreference
from .twofold_cache import TwofoldCache
from .wrapping_model import WrappingModel

# Not a model input of generate's own, because assisted decoding hands those on to the assistant.
_generating: ContextVar[Lanes | None] = ContextVar("hf_prosocial_generating", default=None)


class GuidedModel(WrappingModel):
    """A base guided by a PV-ARM on the same weights, in one forward pass over 2B rows: hardly dearer than the base.

        arm = load_arm("path-or-hub-id", base)
        guided = GuidedModel(base, arm, Preference(empathy=0.5, helpfulness=0.5), beta=0.3)
        guided.generate(**inputs)

    Its logits are log π_s + β · log π_r(· | p), renormalised, so that it generates what the base with a
    `ProSocialProcessor` generates, in every mode of `generate` and in pipelines, and its loss is the guided
    distribution's. Other processors act after guidance here, and where they stand in the list there.

    Args:
        base: the model that the ARM was trained on; it stays as it is.
        arm: from `load_arm(..., base)`, in evaluation mode: its adapter is on the base's very weights. Or a PeftModel
            with a plain LoRA on them, for example a baked ARM.
        preference: one for all rows, or as many as the batch has prompts; none with a plain LoRA.
        beta: β >= 0, the strength of guidance.
        safe_set: ε in (0, 1]: a token is kept only if π_s(token) >= ε · max π_s; None keeps all.
        harm_vector: subtracted from the base's rows where its gate takes the prompt for harmful (see `GatedModel`); the
            ARM's rows keep the base. There guidance gives way: β(x) = β · (1 − g(x)). None subtracts nothing.

    Raises:
        ValueError: an ARM on other weights (use `ProSocialProcessor`), or bad arguments; at a call, whatever would
            guide wrongly: a `ProSocialProcessor` beside it, a cache of another model, an ARM that was changed.

    Source: METHOD, section 3.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        arm: PeftModel,
        preference: Preferences | None = None,
        beta: float = 1.0,
        safe_set: float | None = None,
        harm_vector: GatedHarmVector | None = None,
    ) -> None:
        check_strength(beta, safe_set)
        _check_shared(base, arm)
        if isinstance(arm.base_model, LoraModel):
            if preference is not None:
                raise ProsocialError("a plain LoRA has one preference baked in, so that it takes none")
            arm = pblora_of(arm, without_adapters(sharing_weights(cast(PreTrainedModel, arm.get_base_model()))))
            preference = Preference.one_hot(OBJECTIVE, objectives=(OBJECTIVE,))
        elif preference is None:
            raise ProsocialError("give a preference: without one, nothing says where to guide")
        tuner_of(arm).refuse_edited_base()
        super().__init__(base.config)
        # Modules of its own over the same memory: what is done to the given ARM later does not reach in here.
        self.arm, self.beta, self.safe_set = sharing_weights(arm), 1.0, None
        use_few_rows(self.arm)
        self.generation_config = base.generation_config
        self._tuner = tuner_of(self.arm)
        self._adapter = self._tuner.one_adapter()
        self._adapter_weights = [
            weight for name, weight in self.arm.named_parameters() if "pblora_" in name and not weight.is_inference()
        ]
        self._own = OwnPreference(self._lanes_of(preference))
        self.eval()
        self._gated: Any = Ungated()  # Or GatedRows.
        check_one_pass(self, base, tuner_of(arm))
        self.beta, self.safe_set = float(beta), safe_set
        if harm_vector is not None:
            harm_vector.check(base)
            self._gated = GatedRows(base, self.arm, harm_vector)

    def set_preference(self, preference: Preferences) -> None:
        """Guide by another preference from now on, in this thread or asyncio task.

        Another thread that set none then has to pass its own to `generate`.

        Raises:
            ValueError: an objective that the ARM does not have, or weights off the simplex.
        """
        self._own.set(self._lanes_of(preference))

    def generate(self, *args: Any, preference: Preferences | None = None, **kwargs: Any) -> Any:
        """transformers' `generate`, under this preference, or the one that is set.

        It is settled here for the whole generation, whatever other threads set meanwhile.

        Raises:
            ValueError: see the class.
        """
        if preference is not None and kwargs.get("custom_generate") is not None:
            raise ProsocialError(
                "a custom_generate calls generate anew, without this preference; set_preference keeps it"
            )
        lanes, gated = self._lanes_of(preference), self._gated.of_generation(self, args, kwargs)
        token, scales = _generating.set(lanes), generating.set(gated)
        generation: Any = super()
        try:
            return generation.generate(*args, **kwargs)
        finally:
            generating.reset(scales)
            _generating.reset(token)

    def _lanes_of(self, preference: Preferences | Lanes | None) -> Lanes:
        if isinstance(preference, Lanes):
            return preference
        if preference is None:
            return Lanes(self._own.get().weights)
        return Lanes(self._tuner.preference_weights(preference, self._adapter))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | dict[str, Tensor] | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: Cache | None = None,
        preference: Preferences | Lanes | None = None,
        harm_scales: Float[Tensor, " prompts"] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """B rows in, guided log-probabilities (B, tokens, vocabulary) out, fp32.

        Args:
            input_ids: (B, tokens), int64.
            attention_mask: 1 for tokens and 0 for padding, or the base's own form of it.
            position_ids: (B, tokens), int64.
            past_key_values: the cache that this model returned, or none.
            inputs_embeds: (B, tokens, width), in place of the ids.
            labels: for `loss`, the mean negative guided log-probability, with the base's shift and −100.
            use_cache: whether a cache is returned; by default as the configuration says.
            logits_to_keep: how many of the last columns are returned, or which; 0 is all.
            cache: the newer name of `past_key_values`.
            preference: in place of the one that is set; `generate` passes its own.
            harm_scales: λ of each prompt, with a `harm_vector`; see `GatedModel`.
            kwargs: further inputs of the base; hidden states and attentions are not returned.

        Raises:
            ValueError: see the class.
        """
        self._check(kwargs)
        inputs = cast(Tensor, inputs_embeds if input_ids is None else input_ids)
        rows = len(inputs)
        cache = given_cache(cache, past_key_values)
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        lanes = self._lanes_of(preference)
        both = None if cache is None else _twofold(cache)
        if both is not None and not torch.compiler.is_compiling():
            both.belongs_to(self, lanes.weights, sum(weight._version for weight in self._adapter_weights))
        weights = self._weights(lanes, inputs, both)
        scales = self._gated.of_rows(inputs, attention_mask, cache, harm_scales)
        with (
            self._gated.subtracting(scales, 2 * rows),
            self._tuner.preference_state.using(self._adapter, weights, unguided_rows=rows),
        ):
            output = self._tuner.wrapped(
                input_ids=_twice(input_ids, rows),
                attention_mask=_twice(attention_mask, rows),
                position_ids=_twice(position_ids, rows),
                inputs_embeds=_twice(inputs_embeds, rows),
                use_cache=use_cache,
                logits_to_keep=named_columns(logits_to_keep, inputs.shape[1], inputs.device),
                **{CACHE: both},
                **{name: _twice(value, rows) for name, value in kwargs.items()},
            )
        logits = self._combined(output.logits, scales)
        loss = None
        if labels is not None:
            loss = self._tuner.wrapped.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1])
        return CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: output.get(CACHE)})

    def _combined(
        self, logits: Float[Tensor, "twice tokens vocabulary"], scales: Float[Tensor, " rows"] | None
    ) -> Float[Tensor, "rows tokens vocabulary"]:
        base, guide = at_least_fp32(logits).chunk(2)
        share = self._gated.share(scales)
        left = None if share is None else share.to(base.device)[:, None, None]
        return guided_log_probs(base, guide, beta=self.beta, safe_set=self.safe_set, share=left)

    def _weights(self, lanes: Lanes, inputs: Tensor, cache: TwofoldCache | None) -> Float[Tensor, "*rows k"]:
        """p of each guide row, or the one p of all; whether rows belong to the preferences is checked as they begin."""
        weights = lanes.weights.to(inputs.device)
        if weights.ndim == 1:
            return weights
        rows, count = len(inputs), len(weights)
        begins = cache is None or int(cache.get_seq_length()) == 0
        if inputs.ndim == 2 and begins:
            return weights[lanes.of(inputs)]
        if rows % count or (inputs.ndim == 3 and rows != count):
            raise ProsocialError(
                f"{count} preferences were given, but the batch has {rows} rows; give as many as it has"
            )
        return weights.repeat_interleave(rows // count, dim=0)

    def _prepare_generation_config(self, *args: Any, **kwargs: Any) -> Any:
        # Once a generation, because it looks at all weights.
        self._tuner.refuse_edited_base()
        generation: Any = super()
        return generation._prepare_generation_config(*args, **kwargs)

    def _check(self, kwargs: dict[str, Any]) -> None:
        check_ready(self._tuner, self._adapter)
        # generate looks once, because that takes milliseconds; in a compiled graph nothing can.
        if not torch.compiler.is_compiling() and _generating.get() is None:
            self._tuner.refuse_edited_base()
        asked = [name for name in ("output_attentions", "output_hidden_states") if kwargs.get(name)]
        if asked:
            wanted = asked[0].removeprefix("output_")
            raise ProsocialError(f"a GuidedModel returns no {wanted}, because it has two of each; ask the base")

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The base's, and the generation's preference."""
        wrapped: Any = self._tuner.wrapped
        further = {"preference": _generating.get(), HARM_SCALES: scales_of_generation()}
        return wrapped.prepare_inputs_for_generation(*args, **kwargs) | further

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        # generate's own caches are for B rows; prefilling in chunks would make them before the first forward pass.
        if generation_config.prefill_chunk_size is not None:
            raise ProsocialError("a GuidedModel cannot be prefilled in chunks (prefill_chunk_size)")
        generation: Any = super()
        result = generation._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        cache = model_kwargs.get(CACHE)
        if cache is not None:
            model_kwargs[CACHE] = _twofold(cache)
        return result

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        generation: Any = super()
        processors = generation._get_logits_processor(*args, **kwargs)
        if any(isinstance(processor, GuidedProcessor) for processor in processors):
            raise ProsocialError(
                "a GuidedModel guides by itself, and a ProSocialProcessor beside it would guide twice; leave it out, "
                "or give it to the base's generate"
            )
        return processors


def _twofold(cache: Cache) -> TwofoldCache:
    return cache if isinstance(cache, TwofoldCache) else TwofoldCache(cache)


def _twice(value: Any, rows: int) -> Any:
    """An input for base and guide: what has the batch's rows has them twice."""
    if isinstance(value, dict):
        return {name: _twice(one, rows) for name, one in value.items()}
    if isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows:
        return torch.cat([value, value])
    return value


def _check_shared(base: PreTrainedModel, arm: PeftModel) -> None:
    own = {name: weight.data_ptr() for name, weight in base_parameters(base).items()}
    others = {name: weight.data_ptr() for name, weight in base_parameters(arm).items()}
    differing = [name for name in own if others.get(name) != own[name]]
    if differing or own.keys() != others.keys():
        raise ProsocialError(
            f"the ARM is not an adapter on this base's own weights ({len(differing)} of {len(own)} tensors differ): "
            "another model, an edited base or a second copy. Load it on the base, load_arm(id, base), or guide by "
            "ProSocialProcessor(arm, preference), which runs two models"
        )
