"""The model "prosocial" of lm-evaluation-harness: guided in multiple choice, in perplexity and in generation."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
    from lm_eval.utils import simple_parse_args_string
except ImportError as error:
    raise ImportError(
        f"lm-evaluation-harness is not installed ({error}); pip install 'hf-prosocial[lm-eval]'"
    ) from error

from hf_prosocial.arm import load_arm
from hf_prosocial.decoding import GuidedModel, GuidedPair
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import validated
from hf_prosocial.models import find_base, preferred_device
from hf_prosocial.preference import Preference

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LmEvalOptions:
    """What `--model_args` may say, and what the harness adds from its own options.

    Attributes:
        base: the model: a directory, a .gguf file or a Hub id.
        arm: the adapter: a directory or a Hub id.
        preference: "empathy=0.5+helpfulness=0.5", or "uniform".
        beta: β >= 0.
        safe_set: ε in (0, 1], or None.
        arm_base: what the ARM was trained on, where `base` is another model (an edited one, say); two forward passes.
        dtype: to load both in.
        device: where to put them; one that is not there is replaced by the one that torch finds, as the harness does.
        trust_remote_code: run the code that comes with the base.
        batch_size, max_batch_size, max_length, add_bos_token: the harness's own.
    """

    base: str
    arm: str
    preference: str = "uniform"
    beta: float = 1.0
    safe_set: float | None = None
    arm_base: str | None = None
    dtype: str = "auto"
    device: str | None = None
    trust_remote_code: bool = False
    batch_size: int | str = 1
    max_batch_size: int | None = 64
    max_length: int | None = None
    add_bos_token: bool | None = None


@register_model("prosocial")
class ProSocialLM(HFLM):
    """A base guided by an ARM, for the harness.

    Its requests are answered by transformers' models as ever, whose logits are guided log-probabilities; so whatever
    the harness computes sees the guidance.

    Args:
        options: of the model.

    Raises:
        BaseMismatchError: an ARM that was trained on another base than `arm_base`, or `base`.
        ValueError: a preference that makes no sense.
    """

    def __init__(self, options: LmEvalOptions) -> None:
        guided, tokenizer = _guided(options)
        super().__init__(
            pretrained=guided,
            tokenizer=cast(Any, tokenizer),
            backend="causal",
            batch_size=options.batch_size,
            max_batch_size=options.max_batch_size,
            max_length=options.max_length,
            add_bos_token=options.add_bos_token,
        )

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None) -> "ProSocialLM":
        """The harness's way from its command line."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict, additional_config: dict | None = None) -> "ProSocialLM":
        """The harness's way from Python.

        Raises:
            ProsocialError: an argument that is unknown, missing or no such value.
        """
        given = arg_dict | {name: value for name, value in (additional_config or {}).items() if value is not None}
        unknown = sorted(given.keys() - {field.name for field in fields(LmEvalOptions)})
        if unknown:
            known = ", ".join(field.name for field in fields(LmEvalOptions))
            raise ProsocialError(f"--model_args has {', '.join(unknown)}, which nothing reads; there are {known}")
        return cls(validated(LmEvalOptions, given, "--model_args"))


def _guided(options: LmEvalOptions) -> tuple[Any, PreTrainedTokenizerBase]:
    source = find_base(options.base, trust_remote_code=options.trust_remote_code)
    model, tokenizer = source.load(options.dtype, device=_device(options.device))
    if options.arm_base is None:
        guide = load_arm(options.arm, model, tokenizer=tokenizer)
        weights = parse_preference(options.preference, guide.active_peft_config.names)
        return GuidedModel(model, guide, weights, options.beta, options.safe_set), tokenizer
    other, other_tokenizer = find_base(options.arm_base).load(options.dtype, device=model.device)
    guide = load_arm(options.arm, other, tokenizer=other_tokenizer)
    weights = parse_preference(options.preference, guide.active_peft_config.names)
    return GuidedPair(model, guide, weights, options.beta, options.safe_set, tokenizer), tokenizer


def _device(asked: str | None) -> torch.device:
    found = preferred_device()
    if asked is None:
        return found
    device = torch.device(asked)
    if device.type not in ("cpu", found.type):
        logger.warning("there is no device %s here; %s is taken", asked, found)
        return found
    return device


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
