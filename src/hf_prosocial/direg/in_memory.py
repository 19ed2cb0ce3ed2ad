"""θ ∓ λ · τ_m on a loaded model."""

import logging

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import ModelWeights, distance, weight_hash
from hf_prosocial.precision import at_least_fp32

from .tensors import DTYPES
from .vector_file import VectorFile

logger = logging.getLogger(__name__)


def check_model(vector: VectorFile, model: nn.Module) -> None:
    """Refuse a loaded model whose weights are not those that the vector was made on.

    Raises:
        ProsocialError: other weights; the same ones in another dtype or quantisation are right, and logged.
    """
    record = vector.record
    dtypes = {DTYPES[tensor.dtype] for tensor in record.tensors.values()}
    found = {dtype: weight_hash(model, dtype) for dtype in dtypes}
    if record.base_hash in found.values():
        return
    off = None
    if record.base_sketch is not None:
        off = distance(record.base_sketch, ModelWeights(model), hashed=_loaded_as(model, record.base_sketch.dtype))
        if off.same:
            logger.warning("the model has the vector's base in another storage: %s", off)
            return
    known = ", ".join(f"{digest[:12]}... in {dtype}" for dtype, digest in found.items())
    raise ProsocialError(
        f"the vector was made for {record.base} (weights {record.base_hash[:12]}...); the model has {known}"
        f"{'' if off is None else f': {off}'}. Load that base; allow_mismatch=True edits this model nevertheless"
    )


def edit_model(vector: VectorFile, model: nn.Module, factor: float) -> None:
    """θ += factor · τ_m on a loaded model, in place.

    Raises:
        ValueError: the model lacks a tensor of the vector, or has it in another shape.
    """
    vector.content_hash()  # Raises where the entries are damaged.
    parameters = dict(model.named_parameters())
    touched = {name: tensor for name, tensor in vector.record.tensors.items() if tensor.kept}
    for name, tensor in touched.items():
        if name not in parameters or tuple(parameters[name].shape) != tensor.shape:
            found = tuple(parameters[name].shape) if name in parameters else "nothing"
            raise ProsocialError(f"the vector edits {name} of shape {tensor.shape}; the model has {found} there")
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
    edited = (at_least_fp32(weights[indices]) + factor * values).to(weights.dtype)
    if not torch.isfinite(edited).all():
        raise ProsocialError(f"{name} would get entries that are not finite in {weights.dtype}; lower the scale")
    return edited


def _loaded_as(model: nn.Module, dtype: str) -> bool:
    return {str(weight.dtype) for weight in model.parameters()} == {f"torch.{dtype}"}
