"""θ ∓ λ · τ_m on a loaded model."""

import logging
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import NamedWeights, base_parameters, distance, hash_of, load_stored, stored_state
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
    weights = _by_stored_name(vector, model)
    dtypes = {DTYPES[tensor.dtype] for tensor in record.tensors.values()}
    found = {dtype: hash_of(weights, dtype) for dtype in dtypes}
    if record.base_hash in found.values():
        return
    off = None
    if record.base_sketch is not None:
        hashed = {str(one.dtype) for one in weights.values()} == {f"torch.{record.base_sketch.dtype}"}
        off = distance(record.base_sketch, NamedWeights(weights), hashed=hashed)
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
    weights = _by_stored_name(vector, model)
    touched = {name: tensor for name, tensor in vector.record.tensors.items() if tensor.kept}
    for name, tensor in touched.items():
        if name not in weights or tuple(weights[name].shape) != tensor.shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            raise ProsocialError(
                f"the vector {vector.file} edits {name} of shape {tensor.shape}; the model has {found} there"
            )
    own = set(dict(model.named_parameters()))
    renamed = not touched.keys() <= own
    if renamed:
        weights |= {name: weights[name].clone() for name in touched}
    with torch.no_grad():
        # Every tensor is tried before the first is changed, so that a refused edit changes nothing.
        for write in (False, True):
            for name in touched:
                flat = weights[name].view(-1)
                indices, values = (torch.from_numpy(part).to(flat.device) for part in vector.entries_of(name))
                edited = _edited(flat, indices, values, factor, name)
                if write:
                    flat[indices] = edited
    if renamed:
        load_stored(cast(PreTrainedModel, model), weights)


def _by_stored_name(vector: VectorFile, model: nn.Module) -> dict[str, Tensor]:
    """The model's weights, by their names on disk where these differ and transformers can tell them."""
    weights: dict[str, Tensor] = dict(base_parameters(model))
    sketch = vector.record.base_sketch
    wanted = vector.record.tensors.keys() if sketch is None else sketch.norms.keys()
    if wanted == weights.keys() or not isinstance(model, PreTrainedModel):
        return weights
    stored = stored_state(model)
    return stored if len(wanted - stored.keys()) < len(wanted - weights.keys()) else weights


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
