"""In which way a model can follow a generation, found by trying it once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import CANNOT, agree, plain_tokens

from .steps import Steps, crop

_LENGTH, _PADDED, _PREFILLED = 9, 2, 4

Logits = Float[Tensor, "rows vocabulary"]


@dataclass(frozen=True)
class Way:
    """What was found of a model.

    Attributes:
        padding: rows that are padded on the left give what they give alone.
        cached: steps of one token with a cache give what the whole rows give, rows reordered between them; else every
            step must read the rows from their beginning.
        several: so do steps of several tokens.
        crops: the cache can be shortened.
    """

    padding: bool
    cached: bool
    several: bool
    crops: bool


_found: WeakKeyDictionary[PreTrainedModel, tuple[str, Way]] = WeakKeyDictionary()


def way_of(model: PreTrainedModel) -> Way:
    """How to follow with a model: tried on a few tokens, once a model, because its configuration does not tell.

    Args:
        model: in evaluation mode; a preference is in force where its adapters need one.

    Raises:
        ProsocialError: an encoder-decoder, or a model whose logits depend on the other rows of the batch.
    """
    kernel = str(model.config._attn_implementation)
    if model not in _found or _found[model][0] != kernel:
        _found[model] = kernel, try_ways(Steps(model), type(model).__name__)
    return _found[model][1]


def try_ways(steps: Steps, name: str) -> Way:
    """What a model can do, found by trying.

    Args:
        steps: of the model.
        name: to call it by in messages.

    Raises:
        ProsocialError: as `way_of`.
    """
    model = steps.model
    if model.config.is_encoder_decoder:
        raise ProsocialError(
            f"{name} is an encoder-decoder, which would guide without ever seeing the source text; use a decoder-only "
            "model"
        )
    try:
        return _tried(steps, name)
    except CANNOT as error:
        if isinstance(error, ProsocialError):
            raise
        raise ProsocialError(
            f"{name} does not run on plain text, from its beginning or step by step ({type(error).__name__}: {error}); "
            "it cannot guide"
        ) from error


def _tried(steps: Steps, name: str) -> Way:
    model = steps.model
    tokens = torch.tensor(plain_tokens(model.config, 2 * _LENGTH), device=model.device).view(2, -1)
    full, padded = torch.ones_like(tokens), torch.ones_like(tokens)
    padded[1, :_PADDED] = 0
    first = _alone(steps, tokens[:1])
    for mask, begins in ((padded, _PADDED), (full, 0)):
        alone = torch.cat([first, _alone(steps, tokens[1:], begins)])
        if _agrees(steps, lambda mask=mask: steps.whole(tokens, mask)[:, -1], alone[:, -1]):
            return _with_cache(steps, tokens, mask, alone, padding=begins > 0)
    raise ProsocialError(
        f"{name} gives a row of a batch other logits than the row alone, so that nothing tells what it guides by; it "
        "cannot guide"
    )


def _alone(steps: Steps, row: Int[Tensor, "1 length"], begins: int = 0) -> Float[Tensor, "1 length vocabulary"]:
    """The logits of a row without its first columns, zeros there."""
    read = row[:, begins:]
    logits = steps.whole(read, torch.ones_like(read), last=read.shape[1])
    return torch.nn.functional.pad(logits, (0, 0, begins, 0))


def _with_cache(
    steps: Steps,
    tokens: Int[Tensor, "rows length"],
    mask: Int[Tensor, "rows length"],
    alone: Float[Tensor, "rows length vocabulary"],
    padding: bool,
) -> Way:
    """Prefill, single steps with reordered rows between them, a step of two tokens, and one taken back."""
    held: dict[str, Any] = {"cache": steps.new_cache(), "columns": 0}

    def right(until: int) -> bool:
        def step() -> Logits:
            logits, held["cache"] = steps.cached(tokens[:, :until], mask[:, :until], held["cache"], held["columns"])
            held["columns"] = until
            return logits[:, -1]

        return _agrees(steps, step, alone[:, until - 1])

    def reordered() -> Logits:
        held["cache"].reorder_cache(torch.tensor([1, 0], device=tokens.device))
        return alone[:, 0]

    if not (right(_PREFILLED) and right(_PREFILLED + 1) and _agrees(steps, reordered, alone[:, 0])):
        return Way(padding, cached=False, several=False, crops=False)
    tokens, mask, alone = tokens.flip(0), mask.flip(0), alone.flip(0)
    if not right(_PREFILLED + 2):
        return Way(padding, cached=False, several=False, crops=False)
    several = right(_PREFILLED + 4)
    crops = several and crop(held["cache"], _PREFILLED + 4, 2)
    held["columns"] -= 2
    return Way(padding, cached=True, several=several, crops=crops and right(_PREFILLED + 3))


def _agrees(steps: Steps, run: Callable[[], Logits], expected: Logits) -> bool:
    try:
        return agree(run(), expected, steps.model.dtype)
    except CANNOT:
        return False
