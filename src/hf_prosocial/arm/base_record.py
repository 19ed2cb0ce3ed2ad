"""What an adapter records of the base that it was trained on, and the comparison with the base at hand."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.identity import RECORDED_DTYPES, tokenizer_hash, weight_hash, weight_hashes

MISMATCHES = ("base_weights", "tokenizer", "chat_template")
"""What is compared, and what `allow_mismatch` may name."""


class BaseMismatchError(ValueError):
    """The adapter was trained on another base, tokenizer or chat template."""


@runtime_checkable
class BaseRecord(Protocol):
    """Where an adapter keeps it: a `PBLoraConfig`, or the record of a `GenArm`."""

    base_model_name_or_path: str | None
    base_weight_hashes: dict[str, str] | None
    tokenizer_hash: str | None
    chat_template: str | None


def record_base(
    record: BaseRecord, base: nn.Module, tokenizer: PreTrainedTokenizerBase, name_or_path: str | None = None
) -> None:
    """Write into an adapter's record what `check_base` compares: the base's weights, the tokenizer, its template.

    Call it on the base in the dtype of its checkpoint: hashes for narrower dtypes follow from that, not the reverse.
    """
    record.base_weight_hashes = weight_hashes(base)
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
        raise ValueError(f"allow_mismatch may name {list(MISMATCHES)}, found {unknown}")


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
        model, tokenizer: what it is to work with; without a tokenizer, that and its template are not compared.
        allow_mismatch: differences to accept, of `MISMATCHES`.

    Raises:
        BaseMismatchError: any other difference.
    """
    found: list[str] = []
    if record.base_weight_hashes is not None and "base_weights" not in allow_mismatch:
        dtype = str(model.dtype).removeprefix("torch.")
        expected = record.base_weight_hashes.get(dtype)
        if expected is None:
            known = ", ".join(str(one).removeprefix("torch.") for one in RECORDED_DTYPES)
            found.append(f"base_weights: the base is in {dtype}, but weights are recorded for {known} only")
        elif (actual := weight_hash(model, model.dtype)) != expected:
            found.append(f"base_weights: the adapter was trained on {expected[:12]}..., this base is {actual[:12]}...")
    if tokenizer is not None:
        if record.tokenizer_hash is not None and "tokenizer" not in allow_mismatch:
            actual = tokenizer_hash(tokenizer)
            if actual != record.tokenizer_hash:
                found.append(f"tokenizer: trained with {record.tokenizer_hash[:12]}..., this one is {actual[:12]}...")
        other_template = record.chat_template not in (None, tokenizer.chat_template)
        if other_template and "chat_template" not in allow_mismatch:
            found.append("chat_template: the adapter was trained with another template than this tokenizer's")
    if found:
        names = ", ".join(repr(line.partition(":")[0]) for line in found)
        raise BaseMismatchError(
            f"the adapter {arm_id} does not belong to this base:\n  "
            + "\n  ".join(found)
            + f"\nUse the base {record.base_model_name_or_path!r}, or accept it by allow_mismatch=[{names}]"
        )
