"""load_arm: an adapter and its base, checked against each other, ready to guide."""

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import check_hub_id
from hf_prosocial.models import find_base, sharing_weights
from hf_prosocial.pblora import PBLoraConfig, tuner_of

from .adapter_file import check_adapter_file
from .base_record import check_base, check_names


def load_arm(
    arm_id: str | Path,
    base: str | Path | PreTrainedModel | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    objectives: Sequence[str] | None = None,
    allow_mismatch: Collection[str] = (),
    dtype: torch.dtype | str = "auto",
    device_map: str | dict | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    token: str | bool | None = None,
) -> PeftModel:
    """Load a PV-ARM: a PBLoRA adapter, saved by this package or by [PARM], on its base.

    Args:
        arm_id: directory or Hub id of the adapter.
        base: the model that the adapter was trained on, loaded, or as `find_base` takes it; by default the one that the
            adapter records. A loaded model is not changed: the ARM shares the memory of its weights, so that one copy
            serves as base and as guide.
        tokenizer: the base's, to compare with the adapter's record. Where `base` is a directory or an id, its
            tokenizer is loaded for that; with a loaded model and no tokenizer here, leave the comparison to
            `ProSocialProcessor(tokenizer=...)`.
        objectives: names for the objectives of an adapter that does not name its own ([PARM]); otherwise
            `objective_0`, `objective_1`, ...
        allow_mismatch: any of "base_weights", "tokenizer", "chat_template": differences to accept.
        dtype: for loading the base, as in transformers; not with a loaded model.
        device_map: likewise.
        revision: of the adapter on the Hub; its base has the revision that the adapter records.
        subfolder: of the adapter's directory or repository.
        token: for adapter and base on the Hub; by default the one logged in with.

    Returns:
        The PeftModel in evaluation mode, its weights frozen.

    Raises:
        BaseMismatchError: a recorded hash or template differs from what was found.
        ValueError: not a PBLoRA adapter, no base known, or arguments that contradict each other.
    """
    check_names(allow_mismatch)
    given = {"revision": revision, "subfolder": subfolder, "token": token}
    hub: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    config = _adapter_config(arm_id, objectives, hub)
    if isinstance(base, PreTrainedModel):
        if dtype != "auto" or device_map is not None:
            raise ProsocialError(
                "dtype and device_map are for loading a base; the one given is loaded: move that one instead"
            )
        model = sharing_weights(base)
    elif base is not None and not isinstance(base, str | Path):
        raise ProsocialError(f"base must be a transformers model, a directory or a Hub id, found {type(base).__name__}")
    else:
        base_id = base or config.base_model_name_or_path
        if not base_id:
            raise ProsocialError(f"the adapter {arm_id} records no base; pass base=")
        recorded = config.revision if base is None else None
        source = find_base(base_id, revision=recorded, token=token)
        model = source.load_model(dtype, device_map)
        if tokenizer is None and config.tokenizer_hash is not None and "tokenizer" not in allow_mismatch:
            tokenizer = source.load_tokenizer()
    check_base(arm_id, config, model, tokenizer, allow_mismatch)
    with _named(arm_id, "adapter_model.safetensors"):
        arm = PeftModel.from_pretrained(model, str(arm_id), config=config, **hub)
    check_adapter_file(arm, arm_id, "default", hub)
    arm.requires_grad_(False)
    tuner_of(arm).note_base()
    return arm.eval()


def arm_objectives(arm_id: str | Path) -> tuple[str, ...]:
    """What an adapter weighs, in order, read from its configuration alone; `objective_0`, ... where it names none.

    Raises:
        OSError: nothing there.
        ValueError: not a PBLoRA adapter.
    """
    return _adapter_config(arm_id, None, {}).names


def _adapter_config(arm_id: str | Path, objectives: Sequence[str] | None, hub: dict[str, Any]) -> PBLoraConfig:
    if not Path(arm_id).is_dir():
        check_hub_id(str(arm_id))
    with _named(arm_id, "adapter_config.json"):
        config = PeftConfig.from_pretrained(str(arm_id), **hub)
    if not isinstance(config, PBLoraConfig):
        raise ProsocialError(f"{arm_id} holds a {config.peft_type} adapter; load_arm takes PBLoRA adapters")
    if objectives is not None:
        named = config.names != tuple(f"objective_{index}" for index in range(len(config.names)))
        if named and tuple(objectives) != config.names:
            raise ProsocialError(f"the adapter names its objectives {list(config.names)}, found {list(objectives)}")
        config.objectives = tuple(objectives)
        config.name_objectives()
    return config


# What PEFT and safetensors raise at files that are damaged or not theirs.
_DAMAGED = (SafetensorError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)


@contextmanager
def _named(arm_id: str | Path, file: str) -> Generator[None]:
    """Say which file it is that PEFT could not read."""
    try:
        yield
    except OSError:
        raise
    except _DAMAGED as error:
        first = str(error).strip().partition("\n")[0]
        raise ProsocialError(
            f"{Path(arm_id) / file if Path(arm_id).is_dir() else f'{file} of {arm_id}'} holds no adapter that can be "
            f"read ({type(error).__name__}: {first}); save or download it again"
        ) from error
