"""Guided inference as a transformers logits processor, whatever guides."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Self
from weakref import ReferenceType, ref

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, DynamicCache, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import Written
from hf_prosocial.precision import at_least_fp32
from hf_prosocial.preference import Preferences

from .gated_rows import share_of_rows
from .generation_frame import Generation, current_generation, mask_of
from .guidance import check_entropy, check_strength, guided_log_probs, uncertain
from .guide import GuidanceLostError, Guide, check_evaluating
from .lanes import Lanes
from .padding import GivenMask, mask_from_padding
from .per_thread import PerThread
from .vocabulary import check_tokenizer, shared_width


class _Here(PerThread):
    """What the thread's cache was made with: the generation, by its cache, and the guide's weights.

    `weights` are their places: looking each up is quick, and walking through a model at every step is not.
    """

    weights: Sequence[tuple[dict[str, nn.Parameter | None], str]] = ()
    generation: ReferenceType[Cache] | None = None
    version: tuple[object, ...] | None = None
    written: Written | None = None
    length: int = 0


class GuidedProcessor(LogitsProcessor):
    """scores = log_softmax(base) + β · log π_r(· | p), renormalised; π_r is the guide's  [METHOD, section 3].

    On a `GatedModel` β(x) = β · (1 − g(x)): where its gate is open, guidance gives way.

    `ProSocialProcessor` and `GenArmProcessor` say what guides, and document the arguments.
    """

    # transformers' continuous batching leaves processors out unless they say that they support it.
    supports_continuous_batching = False

    def __init__(
        self,
        guide: Guide,
        preference: Preferences,
        beta: float,
        safe_set: float | None,
        tokenizer: PreTrainedTokenizerBase | None,
        prompt_attention_mask: Int[Tensor, "prompts length"] | None,
        min_entropy: float = 0.0,
    ) -> None:
        check_strength(beta, safe_set)
        check_entropy(min_entropy)
        self.beta, self.safe_set, self.min_entropy = float(beta), safe_set, float(min_entropy)
        self.calls = 0
        self._guide = guide
        if self.beta > 0:
            guide.try_out()
        self._lanes = Lanes(guide.weights(preference))
        self._here = _Here()
        self._given_mask = None if prompt_attention_mask is None else GivenMask(prompt_attention_mask)
        self._pad, self._bos = _special_ids(guide.model, tokenizer)
        self._tokenizer_length = None if tokenizer is None else len(tokenizer)
        if tokenizer is not None:
            check_tokenizer(tokenizer, guide.tokenizer_hash)

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Guided log-probabilities of the same shape, at least fp32; `scores` is left as it is, its −inf stay −inf."""
        self._check_call(input_ids, scores)
        self.calls += 1
        if self.beta == 0 and self.safe_set is None:
            return scores
        base = at_least_fp32(scores)
        share = self._share(base) if self.beta > 0 else None
        if share is not None:
            # Looked at though nobody may be asked: which rows belong to which preference shows at the first step alone.
            self._lanes.of(input_ids)
        if self.beta == 0 or (share is not None and not bool(share.any())):
            return guided_log_probs(base, None, beta=0.0, safe_set=self.safe_set)
        arm = self._arm_logits(input_ids, scores)
        return guided_log_probs(base, arm, beta=self.beta, safe_set=self.safe_set, share=share)

    def _share(self, base: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows 1"] | None:
        """Of β, for each row: none where the ARM is not asked, and less where a gate opens; None is all, everywhere."""
        share = share_of_rows(base)
        if self.min_entropy > 0:
            asked = uncertain(base, self.min_entropy)[:, None].to(base.dtype)
            share = asked if share is None else asked * share
        return None if share is None or bool((share == 1).all()) else share

    @contextmanager
    def must_guide(self) -> Generator[Self]:
        """A guard around generation: `with processor.must_guide(): model.generate(...)`.

        Raises:
            GuidanceLostError: at the end of the block, the processor was never called; so it is under continuous
                batching (`generate_batch`, `cache_implementation="paged"`), which drops processors.
        """
        before = self.calls
        yield self
        if self.calls == before:
            raise GuidanceLostError(
                "the processor was never called inside must_guide(), so the text is not guided. Pass it as "
                "generate(..., logits_processor=[processor]), and do not use continuous batching "
                "(generate_batch, cache_implementation='paged'), which drops logits processors"
            )

    def _arm_logits(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """The guide's logits, on the device and in the dtype of the guided scores; −inf where there is no token."""
        input_ids = input_ids.to(self._guide.model.device)
        generation = current_generation()
        self._forget_what_is_stale(None if generation is None else generation.cache, input_ids.shape[1])
        lanes = self._lanes.of(input_ids)
        mask = self._mask(input_ids, generation)
        logits = self._guide.next_logits(input_ids, mask, lanes, self._lanes.rows(lanes))
        width = shared_width(scores.shape[-1], logits.shape[-1], self._tokenizer_length)
        logits = logits[:, :width].to(scores.device, torch.promote_types(scores.dtype, torch.float32))
        if width == scores.shape[-1]:
            return logits
        return torch.nn.functional.pad(logits, (0, scores.shape[-1] - width), value=-torch.inf)

    def _forget_what_is_stale(self, cache: Cache | None, length: int) -> None:
        """At the begin of a generation, and at every call outside one, look whether the guide's weights were changed.

        Writes in place are counted by torch, and looked for at every call. Those through `.data` take milliseconds to
        find, which a step has not.
        """
        here = self._here
        goes_on = cache is not None and here.generation is not None and here.generation() is cache
        # transformers keeps a static cache for the next generation, which begins with fewer tokens.
        goes_on = goes_on and (length > here.length or isinstance(cache, DynamicCache))
        here.length = length
        if not goes_on:
            here.weights = [
                (module._parameters, name) for module in self._guide.arm.modules() for name in module._parameters
            ]
        version = self._version()
        if goes_on and version == here.version:
            return
        self._guide.begin()
        written = Written.now(self._guide.arm, adapters=True)
        if version != here.version or here.written is None or written.since(here.written):
            self._guide.reset()
        here.generation = None if cache is None else ref(cache)
        here.version, here.written = version, written

    def _mask(self, input_ids: Int[Tensor, "rows length"], generation: Generation | None) -> Int[Tensor, "rows length"]:
        """The mask of the generation that is calling; by what was given to the processor, or by the ids, elsewhere."""
        seen = None if generation is None else mask_of(generation, input_ids)
        given = None if self._given_mask is None else self._given_mask.extended(input_ids)
        if seen is not None and given is not None and not torch.equal(seen, given):
            raise ProsocialError(
                "prompt_attention_mask is not the attention mask that generate was given; leave it out, inside "
                "generate the processor finds the right one"
            )
        found = seen if given is None else given
        if found is None:
            return mask_from_padding(input_ids, self._pad, self._bos)
        if bool((found[:, -1] == 0).any().item()):
            raise ProsocialError(
                "a prompt is padded on the right, so that the next token would be read after its padding; pad on the "
                "left: AutoTokenizer.from_pretrained(..., padding_side='left')"
            )
        return found

    def _check_call(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "score_rows vocabulary"]
    ) -> None:
        if input_ids.shape[1] == 0:
            raise ProsocialError(
                "generation from inputs_embeds shows no token ids at its first step, so the ARM cannot follow; pass "
                "input_ids to generate"
            )
        if input_ids.shape[0] != scores.shape[0]:
            raise ProsocialError(f"{input_ids.shape[0]} rows of ids, but {scores.shape[0]} rows of scores")
        check_evaluating(self._guide.arm)
        self._guide.check()

    def _version(self) -> tuple[object, ...]:
        """Another one whenever weights are written to in place, converted, or scaled otherwise."""
        arm, found = self._guide.arm, [where[name] for where, name in self._here.weights]
        writes = sum(weight._version for weight in found if weight is not None and not weight.is_inference())
        return writes, self._guide.model.dtype, *(vars(config).get("lora_alpha") for config in arm.peft_config.values())


def _special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int | None, int | None]:
    """(pad, bos): the tokenizer's where it is given, else as generate finds them: pad falls back to eos."""
    source = tokenizer if tokenizer is not None else model.generation_config
    pad = source.pad_token_id
    if pad is None:
        eos = source.eos_token_id
        pad = eos[0] if isinstance(eos, list) else eos
    return pad, source.bos_token_id
