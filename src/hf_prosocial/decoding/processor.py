"""GUI-Gen as a transformers logits processor."""

from jaxtyping import Int
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hf_prosocial.preference import Preferences

from .guide import PBLoraGuide
from .guided_processor import GuidedProcessor


class ProSocialProcessor(GuidedProcessor):
    """Guides `model.generate` by a preference: scores = log_softmax(base) + β · log π_r(· | p), renormalised.

        processor = ProSocialProcessor(arm, Preference(empathy=0.5, helpfulness=0.5))
        model.generate(**inputs, logits_processor=[processor])

    It works with greedy search, sampling, beams, several sequences a prompt, left-padded batches, assisted and
    prompt-lookup decoding, and pipelines; one instance serves any number of prompts, in several threads too.

    Guidance sharpens: where π_r says what π_s says, π_s · π_r^β is π_s^(1+β). To sample with the base's own spread,
    give `generate` a temperature of 1 + β (times one's own); greedy search does not mind.

    Args:
        arm: a PV-ARM, from `load_arm`, in evaluation mode, on any device and in any dtype.
        preference: one for all rows, or as many as the batch has prompts; they are expanded as generate expands rows.
        beta: β >= 0, the strength of guidance; at 0 the scores are returned as they came, and the ARM never runs.
        safe_set: ε in (0, 1]: a token is kept only if π_s(token) >= ε · max π_s; None keeps all.
        tokenizer: the base's, to check that it is the ARM's and to know its padding, both of prompts and of the
            vocabulary. Without it the ids must agree by the caller's word: only the width of the scores is checked.
        prompt_attention_mask: (prompts, length), the prompts' mask. Inside generate the processor finds it; needed only
            where something else calls, and padding cannot be told from the ids. It binds the processor to one batch.
        min_entropy: the ARM is asked only where the base's next token has at least this entropy, in nats; elsewhere the
            base's own scores stand. What the ARM was not asked for it reads in one forward pass when it is next asked.
            At 0 it is always asked.

    Raises:
        ValueError: bad arguments here; at a call, anything under which guidance would be wrong: empty `input_ids`
            (`inputs_embeds`), another tokenizer or vocabulary, ambiguous padding or preferences, padding on the right,
            images or a source text that the ARM does not see, tokens that only a cache holds, scores that are NaN.
        GuidanceLostError: assisted decoding whose assistant has another tokenizer.

    Source: ProSocialAlign, section GUI-Gen (METHOD, section 3).
    """

    def __init__(
        self,
        arm: PeftModel,
        preference: Preferences,
        beta: float = 1.0,
        safe_set: float | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        prompt_attention_mask: Int[Tensor, "prompts length"] | None = None,
        min_entropy: float = 0.0,
    ) -> None:
        guide = PBLoraGuide(arm)
        super().__init__(guide, preference, beta, safe_set, tokenizer, prompt_attention_mask, min_entropy)
