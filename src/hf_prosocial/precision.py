"""The precision that mathematics is done in."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_fp32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """fp32 of anything narrower; float64 stays, so that an identity can be shown to the last digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
