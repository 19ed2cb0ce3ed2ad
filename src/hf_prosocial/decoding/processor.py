"""GUI-Gen as a transformers logits processor."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from math import log

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.candidate_generator import AssistedCandidateGeneratorDifferentTokenizers

from hf_prosocial.pblora import Preferences, tuner_of

from .follower import Follower
from .guidance import guided_log_probs
from .lanes import Lanes
from .padding import GivenMask, mask_from_padding
from .vocabulary import check_tokenizer, shared_width


class GuidanceLostError(RuntimeError):
    """Text was generated, or would be, without the guidance that was asked for."""


class ProSocialProcessor(LogitsProcessor):
    """Guides `model.generate` by a preference: scores = log_softmax(base) + β · log π_r(· | p), renormalised.

        processor = ProSocialProcessor(arm, Preference(empathy=0.5, helpfulness=0.5))
        model.generate(**inputs, logits_processor=[processor])

    It works with greedy search, sampling, beams, several sequences a prompt, left-padded batches, assisted and
    prompt-lookup decoding, and pipelines; one instance serves any number of prompts, one call of generate at a time.

    Args:
        arm: a PV-ARM, from `load_arm`, in evaluation mode, on any device and in any dtype.
        preference: one for all rows, or as many as the batch has prompts; they are expanded as generate expands rows.
        beta: β >= 0, the strength of guidance; at 0 the scores are returned as they came, and the ARM never runs.
        safe_set: ε in (0, 1]: a token is kept only if π_s(token) >= ε · max π_s; None keeps all.
        tokenizer: the base's, to check that it is the ARM's and to know its padding, both of prompts and of the
            vocabulary. Without it the ids must agree by the caller's word: only the width of the scores is checked.
        prompt_attention_mask: (prompts, length), the mask given to generate; needed only where padding cannot be told
            from the ids. It binds the processor to one batch of prompts.

    Raises:
        ValueError: bad arguments here; at a call, anything under which guidance would be wrong: empty `input_ids`
            (`inputs_embeds`), another tokenizer or vocabulary, ambiguous padding or preferences, scores that are NaN.
        GuidanceLostError: assisted decoding whose assistant has another tokenizer.

    Source: ProSocialAlign, section GUI-Gen (METHOD, section 3).
    """

    # transformers' continuous batching leaves processors out unless they say that they support it.
    supports_continuous_batching = False

    def __init__(
        self,
        arm: PeftModel,
        preference: Preferences,
        beta: float = 1.0,
        safe_set: float | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt_attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
        tuner = tuner_of(arm)
        if not (isinstance(beta, int | float) and 0 <= beta < float("inf")):
            raise ValueError(f"beta must be a number >= 0, found {beta!r}")
        if safe_set is not None and not 0 < safe_set <= 1:
            raise ValueError(f"safe_set must be in (0, 1] or None, found {safe_set!r}")
        self.arm, self.beta, self.safe_set = arm, float(beta), safe_set
        self.calls = 0
        self._tuner = tuner
        self._adapter = tuner.one_adapter()
        self._lanes = Lanes(tuner.preference_weights(preference, self._adapter))
        self._follower = Follower(tuner.wrapped, _refuse_foreign_assistant)
        self._weights_version = self._version()
        self._given_mask = None if prompt_attention_mask is None else GivenMask(prompt_attention_mask)
        self._pad, self._bos = _special_ids(tuner.wrapped, tokenizer)
        self._tokenizer_length = None if tokenizer is None else len(tokenizer)
        if tokenizer is not None:
            check_tokenizer(tokenizer, tuner.adapter_config().tokenizer_hash)

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Guided log-probabilities, fp32, of the same shape; `scores` is left as it is, and its −inf stay −inf."""
        self._check_call(input_ids, scores)
        self.calls += 1
        if self.beta == 0 and self.safe_set is None:
            return scores
        arm_logits = None if self.beta == 0 else self._arm_logits(input_ids, scores)
        return guided_log_probs(
            scores.float(),
            arm_logits,
            beta=self.beta,
            safe_set_log=None if self.safe_set is None else log(self.safe_set),
        )

    @contextmanager
    def must_guide(self) -> Generator["ProSocialProcessor"]:
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
        """The ARM's fp32 logits on the device of the scores, as wide as them, −inf where there is no token."""
        device = self._tuner.wrapped.device
        input_ids = input_ids.to(device)
        version = self._version()
        if version != self._weights_version:
            self._follower.reset()
            self._weights_version = version
        lanes = self._lanes.of(input_ids)
        if self._given_mask is None:
            mask = mask_from_padding(input_ids, self._pad, self._bos)
        else:
            mask = self._given_mask.extended(input_ids)
        with self._tuner.preference_state.using(self._adapter, self._lanes.rows(lanes)):
            logits = self._follower.next_logits(input_ids, mask, lanes)
        width = shared_width(scores.shape[-1], logits.shape[-1], self._tokenizer_length)
        logits = logits[:, :width].to(scores.device).float()
        if width == scores.shape[-1]:
            return logits
        return torch.nn.functional.pad(logits, (0, scores.shape[-1] - width), value=-torch.inf)

    def _check_call(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "score_rows vocabulary"]
    ) -> None:
        if input_ids.shape[1] == 0:
            raise ValueError(
                "generation from inputs_embeds shows no token ids at its first step, so the ARM cannot follow; pass "
                "input_ids to generate"
            )
        if input_ids.shape[0] != scores.shape[0]:
            raise ValueError(f"{input_ids.shape[0]} rows of ids, but {scores.shape[0]} rows of scores")
        if self.arm.training:
            raise ValueError("the ARM is in training mode, where dropout makes it random; call arm.eval()")
        if self._tuner.active_adapters != [self._adapter]:
            raise ValueError(
                f"the ARM's active adapter was {self._adapter!r} and is now {self._tuner.active_adapters}; make a new "
                "ProSocialProcessor after set_adapter"
            )
        if self._tuner.disabled:
            raise ValueError("the ARM's adapter is disabled, so that it would guide nowhere; enable it again")

    def _version(self) -> int:
        """Changes whenever weights are written to, so that no stale cache is used after training or an edit."""
        return sum(weight._version for weight in self.arm.parameters() if not weight.is_inference())


def _special_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> tuple[int | None, int | None]:
    """(pad, bos): the tokenizer's where it is given, else as generate finds them: pad falls back to eos."""
    source = tokenizer if tokenizer is not None else model.generation_config
    pad = source.pad_token_id
    if pad is None:
        eos = source.eos_token_id
        pad = eos[0] if isinstance(eos, list) else eos
    return pad, source.bos_token_id


def _refuse_foreign_assistant() -> None:
    """Raise if an assistant with another tokenizer is drafting; only the call stack of generate tells."""
    frame = sys._getframe(1)
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), AssistedCandidateGeneratorDifferentTokenizers):
            raise GuidanceLostError(
                "assisted decoding with an assistant of another tokenizer shows logits processors the assistant's "
                "token ids, which the ARM cannot read; use an assistant that shares the model's tokenizer"
            )
        frame = frame.f_back
