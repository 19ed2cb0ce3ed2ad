"""A loaded model's tensors by the names and shapes that they have in files.

transformers renames and joins weights when it loads some families: the experts of a mixture are one tensor in memory
and many on disk.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion


def stored_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """What `save_pretrained` would write: parameters and buffers, tied ones once. Some share the model's memory."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if name not in tied}
    return dict(revert_weight_conversion(model, state))


def load_stored(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """Put such tensors into a model, in place; a second copy of it is made for the moment."""
    # Widened for the way, so that weights that are kept in fp32 beside narrower ones lose nothing.
    wide = torch.float64 if any(one.dtype == torch.float64 for one in state.values()) else torch.float32
    kind: Any = type(model)
    loaded = kind.from_pretrained(None, config=model.config, state_dict=dict(state), dtype=wide)
    found = loaded.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(found[name])
