"""What an adapter records of the base that it was trained on, and the comparison with the base at hand."""

import logging
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from jinja2 import TemplateError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import (
    RECORDED_DTYPES,
    ModelWeights,
    distance,
    sketch_of,
    tokenizer_hash,
    weight_hash,
    weight_hashes,
)
from hf_prosocial.records import read_sketch

logger = logging.getLogger(__name__)

MISMATCHES = ("base_weights", "tokenizer", "chat_template")
"""What is compared, and what `allow_mismatch` may name."""

_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "a"}],
    [{"role": "system", "content": "b"}, {"role": "user", "content": "c"}],
    [{"role": "user", "content": "d\n"}, {"role": "assistant", "content": " e"}, {"role": "user", "content": "f"}],
)
"""What templates are compared on: with and without a system message, and over several turns."""


class BaseMismatchError(ProsocialError):
    """The adapter was trained on another base, tokenizer or chat template."""


@runtime_checkable
class BaseRecord(Protocol):
    """Where an adapter keeps it: a `PBLoraConfig`, or the record of a `GenArm`."""

    base_model_name_or_path: str | None
    base_weight_hashes: dict[str, str] | None
    base_sketch: dict[str, Any] | None
    tokenizer_hash: str | None
    chat_template: str | None


def record_base(
    record: BaseRecord, base: nn.Module, tokenizer: PreTrainedTokenizerBase, name_or_path: str | None = None
) -> None:
    """Write into an adapter's record what `check_base` compares: the base's weights, the tokenizer, its template.

    Call it on the base in the dtype of its checkpoint: hashes for narrower dtypes follow from that, not the reverse.
    """
    record.base_weight_hashes = weight_hashes(base)
    record.base_sketch = asdict(sketch_of(ModelWeights(base)))
    record.tokenizer_hash = tokenizer_hash(tokenizer)
    record.chat_template = cast(str | None, tokenizer.chat_template)
    if name_or_path is not None:
        record.base_model_name_or_path = name_or_path


def check_names(allow_mismatch: Collection[str]) -> None:
    """Refuse a difference that is none of `MISMATCHES`.

    Raises:
        ValueError: which one.
    """
    unknown = sorted(set(allow_mismatch) - set(MISMATCHES))
    if unknown:
        raise ProsocialError(f"allow_mismatch may name {list(MISMATCHES)}, found {unknown}")


def check_base(
    arm_id: str | Path,
    record: BaseRecord,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    allow_mismatch: Collection[str],
) -> None:
    """Compare a base with what an adapter recorded of the one that it was trained on.

    Args:
        arm_id: names the adapter in the error.
        record: the adapter's.
        model: what it is to work with.
        tokenizer: the model's; without one, it and its template are not compared.
        allow_mismatch: differences to accept, of `MISMATCHES`.

    Raises:
        BaseMismatchError: any other difference.
    """
    found: list[str] = []
    if "base_weights" not in allow_mismatch:
        found += _other_weights(arm_id, record, model)
    if tokenizer is not None:
        if record.tokenizer_hash is not None and "tokenizer" not in allow_mismatch:
            actual = tokenizer_hash(tokenizer)
            if actual != record.tokenizer_hash:
                found.append(f"tokenizer: trained with {record.tokenizer_hash[:12]}..., this one is {actual[:12]}...")
        if _other_template(record, tokenizer) and "chat_template" not in allow_mismatch:
            found.append("chat_template: the adapter was trained with another template than this tokenizer's")
    if found:
        names = ", ".join(repr(line.partition(":")[0]) for line in found)
        raise BaseMismatchError(
            f"the adapter {arm_id} does not belong to this base:\n  "
            + "\n  ".join(found)
            + f"\n{_advice(record, model)}, or accept it by allow_mismatch=[{names}]"
        )


def _advice(record: BaseRecord, model: PreTrainedModel) -> str:
    named = record.base_model_name_or_path
    if named == model.config.name_or_path:
        return f"{named!r} holds something else than it did when the adapter was trained; load what it held then"
    return f"Use the base {named!r}"


def _other_weights(arm_id: str | Path, record: BaseRecord, model: PreTrainedModel) -> list[str]:
    """What is wrong with a base's weights; weights that differ in storage alone are right, and that is logged."""
    if record.base_weight_hashes is None:
        return []
    dtype = str(model.dtype).removeprefix("torch.")
    expected = record.base_weight_hashes.get(dtype)
    if expected is not None and weight_hash(model, model.dtype) == expected:
        return []
    if record.base_sketch is None:
        if expected is None:
            known = ", ".join(str(one).removeprefix("torch.") for one in RECORDED_DTYPES)
            return [f"base_weights: the base is in {dtype}, but weights are recorded for {known} only"]
        return [f"base_weights: this base has other weights than {expected[:12]}..., which the adapter was trained on"]
    try:
        off = distance(read_sketch(record.base_sketch, arm_id), ModelWeights(model), hashed=expected is not None)
    except ProsocialError as error:
        raise ProsocialError(f"{arm_id}: {error}") from error
    if not off.same:
        return [f"base_weights: the adapter was trained on other weights than this base's: {off}"]
    logger.warning("%s was trained on this base in another storage: %s", arm_id, off)
    return []


def _other_template(record: BaseRecord, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether conversations would read otherwise; templates that are spelled otherwise may say the same."""
    if record.chat_template in (None, tokenizer.chat_template):
        return False
    if tokenizer.chat_template is None:
        return True
    for conversation in _CONVERSATIONS:
        for prompt in (False, True):
            said = [
                _rendered(tokenizer, template, conversation, prompt)
                for template in (record.chat_template, tokenizer.chat_template)
            ]
            if said[0] != said[1]:
                return True
    return False


def _rendered(
    tokenizer: PreTrainedTokenizerBase, template: Any, conversation: list[dict[str, str]], prompt: bool
) -> str:
    """A conversation as text; where a template refuses it, how."""
    try:
        return str(
            tokenizer.apply_chat_template(
                conversation, chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
        )
    except TemplateError as error:
        return f"refused: {error}"
