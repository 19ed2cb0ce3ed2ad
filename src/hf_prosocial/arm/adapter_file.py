"""Whether an adapter was loaded whole: PEFT fills what a file lacks with random numbers, and warns at most."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict, load_peft_weights

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import listed


def check_adapter_file(model: PeftModel, adapter_id: str | Path, adapter: str, hub: Mapping[str, Any]) -> None:
    """Compare what a file holds with what the adapter needs.

    Args:
        model: that it was loaded into.
        adapter_id: its directory or Hub id.
        adapter: its name in the model.
        hub: revision, subfolder and token, as PEFT takes them.

    Raises:
        ValueError: tensors that are missing, unknown, no floating-point numbers, or not finite.
    """
    needed = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    held = load_peft_weights(str(adapter_id), device="cpu", **hub)
    prefix = str(model.base_model.prefix)
    faults = {
        "lacks": sorted(needed.keys() - held.keys()),
        "has, and the adapter does not,": sorted(name for name in held.keys() - needed.keys() if prefix in name),
        "holds no floating-point numbers in": [name for name, one in held.items() if not one.is_floating_point()],
    }
    faults["holds numbers that are not finite in"] = (
        [] if any(faults.values()) else [name for name, one in held.items() if not bool(one.isfinite().all())]
    )
    for fault, names in faults.items():
        if names:
            raise ProsocialError(
                f"the adapter {adapter_id} cannot be used: its file {fault} {listed(names)}; train, save or "
                "download it again"
            )
