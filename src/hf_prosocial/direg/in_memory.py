"""θ ∓ λ · τ_m on a loaded model."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .tensors import DTYPES
from .vector_file import VectorFile


def check_model(vector: VectorFile, model: nn.Module) -> None:
    """Refuse a loaded model whose weights are not those that the vector was made on.

    Raises:
        ValueError: another hash.
    """
    # PEFT comes with it, which takes seconds to load, and most of what HarmVector does needs neither.
    from hf_prosocial.identity import weight_hash

    record = vector.record
    dtypes = {DTYPES[tensor.dtype] for tensor in record.tensors.values()}
    found = {dtype: weight_hash(model, dtype) for dtype in dtypes}
    if record.base_hash not in found.values():
        known = ", ".join(f"{digest[:12]}... in {dtype}" for dtype, digest in found.items())
        raise ValueError(
            f"the vector was made for {record.base} (weights {record.base_hash[:12]}...); the model has {known}. Load "
            "that base in the dtype that it has on disk; allow_mismatch=True edits this model nevertheless"
        )


def edit_model(vector: VectorFile, model: nn.Module, factor: float) -> None:
    """θ += factor · τ_m on a loaded model, in place.

    Raises:
        ValueError: the model lacks a tensor of the vector, or has it in another shape.
    """
    parameters = dict(model.named_parameters())
    touched = {name: tensor for name, tensor in vector.record.tensors.items() if tensor.kept}
    for name, tensor in touched.items():
        if name not in parameters or tuple(parameters[name].shape) != tensor.shape:
            found = tuple(parameters[name].shape) if name in parameters else "nothing"
            raise ValueError(f"the vector edits {name} of shape {tensor.shape}; the model has {found} there")
    with torch.no_grad():
        # Every tensor is tried before the first is changed, so that a refused edit changes nothing.
        for write in (False, True):
            for name in touched:
                weights = parameters[name]
                indices, values = (torch.from_numpy(part).to(weights.device) for part in vector.entries_of(name))
                edited = _edited(weights.view(-1), indices, values, factor, name)
                if write:
                    weights.view(-1)[indices] = edited


def _edited(
    weights: Float[Tensor, " entries"],
    indices: Int[Tensor, " kept"],
    values: Float[Tensor, " kept"],
    factor: float,
    name: str,
) -> Float[Tensor, " kept"]:
    """weights[indices] + factor · values, in fp32, cast back to the weights' dtype."""
    # A product and a sum, each rounded: a fused one would depend on where pieces begin.
    edited = (weights[indices].float() + factor * values).to(weights.dtype)
    if not torch.isfinite(edited).all():
        raise ValueError(f"{name} would get entries that are not finite in {weights.dtype}; lower the scale")
    return edited
