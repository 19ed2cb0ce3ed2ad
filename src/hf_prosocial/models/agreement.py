"""Whether two computations of the same logits agree, up to the rounding of the model's dtype."""

import torch
from jaxtyping import Float
from torch import Tensor

CANNOT = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)
"""What transformers' models raise where a trial asks for something that they cannot do."""
_SHARES = {torch.float64: 1e-6, torch.float32: 2e-3}
"""Of the logits' spread. Rounding grows with depth: 30 layers in fp32 reach 1e-4, in bf16 some hundredths."""
_NARROW = 0.2


def agree(one: Float[Tensor, "*rows vocabulary"], other: Float[Tensor, "*rows vocabulary"], dtype: torch.dtype) -> bool:
    """Whether logits differ by no more than rounding explains.

    A wrong mask or position changes logits by about as much as another token would, so the border is a share of how
    far logits spread over the vocabulary; in bf16 and fp16 it is wide, because rounding may choose another expert.

    Args:
        one: logits.
        other: of the same shape.
        dtype: of the model that they come from.
    """
    spread = other.double().std(-1).mean()
    border = _SHARES.get(dtype, _NARROW) * spread
    return bool(torch.isfinite(one).all()) and bool(((one - other).double().abs().amax(-1) <= border).all())


def plain_tokens(config: object, count: int) -> list[int]:
    """Ids of ordinary tokens, for trials of a model: none that its configuration gives a meaning (images, padding).

    Args:
        config: a transformers configuration.
        count: how many, all different where the vocabulary has as many.
    """
    described: dict = config.get_text_config(decoder=True).to_dict() | config.to_dict()  # ty: ignore[missing-attribute]
    special: set[int] = set()
    for name, value in described.items():
        if name.endswith(("_token_id", "_token_index")):
            special |= set(value if isinstance(value, list) else [value])
    vocabulary = int(described["vocab_size"])
    plain = [token for token in range(vocabulary) if token not in special]
    # A step that shares no factor with most sizes, so that the tokens are spread over the vocabulary.
    return [plain[(11 + 37 * index) % len(plain)] for index in range(count)]
