"""The model "prosocial" of lm-evaluation-harness: guided in multiple choice, in perplexity and in generation."""

import sys
from collections.abc import Sequence
from typing import Any, cast

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise ImportError(
        f"lm-evaluation-harness is not installed ({error}); pip install 'hf-prosocial[lm-eval]'"
    ) from error

from hf_prosocial.arm import load_arm
from hf_prosocial.decoding import GuidedModel, GuidedPair
from hf_prosocial.models import find_base, preferred_device
from hf_prosocial.preference import Preference


@register_model("prosocial")
class ProSocialLM(HFLM):
    """A base guided by an ARM, for the harness.

    Its requests are answered by transformers' models as ever, whose logits are guided log-probabilities; so whatever
    the harness computes sees the guidance.

    Args:
        base: the model: a directory, a .gguf file or a Hub id.
        arm: the adapter: a directory or a Hub id.
        preference: "empathy=0.5+helpfulness=0.5", or "uniform".
        beta: β >= 0.
        safe_set: ε in (0, 1], or None.
        arm_base: what the ARM was trained on, where `base` is another model (an edited one, say); two forward passes.
        dtype: to load both in.
        device: where to put them.
        batch_size: the harness's own.
        max_batch_size: the harness's own.
        max_length: the harness's own.

    Raises:
        BaseMismatchError: an ARM that was trained on another base than `arm_base`, or `base`.
        ValueError: a preference that makes no sense.
    """

    def __init__(
        self,
        base: str,
        arm: str,
        preference: str = "uniform",
        beta: float = 1.0,
        safe_set: float | None = None,
        arm_base: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int = 64,
        max_length: int | None = None,
    ) -> None:
        model, tokenizer = find_base(base).load(dtype, device=device or preferred_device())
        guided: Any
        if arm_base is None:
            guide = load_arm(arm, model, tokenizer=tokenizer)
            weights = parse_preference(preference, guide.active_peft_config.names)
            guided = GuidedModel(model, guide, weights, float(beta), safe_set)
        else:
            other, other_tokenizer = find_base(arm_base).load(dtype, device=model.device)
            guide = load_arm(arm, other, tokenizer=other_tokenizer)
            weights = parse_preference(preference, guide.active_peft_config.names)
            guided = GuidedPair(model, guide, weights, float(beta), safe_set, tokenizer)
        super().__init__(
            pretrained=guided,
            tokenizer=cast(Any, tokenizer),
            backend="causal",
            batch_size=batch_size,
            max_batch_size=max_batch_size,
            max_length=max_length,
        )


def parse_preference(text: str, objectives: Sequence[str]) -> Preference:
    """ "empathy=0.5+helpfulness=0.5", with a plus because the harness splits its arguments at commas; or "uniform".

    Raises:
        ValueError: an unknown objective, or weights that do not sum to 1.
    """
    if text == "uniform":
        return Preference.uniform(objectives=objectives)
    return Preference.parse(text.replace("+", ","), objectives=objectives)


def run_lm_eval(arguments: Sequence[str]) -> None:
    """Hand over to lm_eval's own main, which finds the model "prosocial" because this module registered it."""
    sys.argv = ["lm-eval", *arguments]
    cli_evaluate()
