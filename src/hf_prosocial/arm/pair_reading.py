"""How a model reads pairs: both replies in one row, or each in a row of its own. Found by trying."""

import inspect
import logging
from contextlib import nullcontext

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_prosocial.data import Pair, Pairs
from hf_prosocial.models import CANNOT, plain_tokens

from .batch import collate
from .log_probs import PairReading, pair_log_probs

_BORDERS = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Nats per token. A leak between replies changes each token; too strict a border only costs time."""
_NARROW = 0.05

logger = logging.getLogger(__name__)


def reading_of(model: nn.Module, wrapped: PreTrainedModel, *datasets: Pairs) -> PairReading:
    """How a model reads these pairs, tried on a few tokens and on the longest pair, without adapters.

    A configuration does not tell: many models take a mask of four dimensions and let replies see each other.

    Args:
        model: what scores them, a PEFT model or the transformers model itself.
        wrapped: the transformers model in it.
        datasets: the pairs.
    """
    parameters = inspect.signature(wrapped.forward).parameters
    takes = {"takes_position_ids": "position_ids" in parameters, "keeps_logits": "logits_to_keep" in parameters}
    packed = PairReading(wrapped.dtype, True, **takes)
    apart = PairReading(wrapped.dtype, False, **takes)
    rows = [row for pairs in datasets for row in pairs.rows]
    longest = max(rows, key=lambda pair: pair.length, default=None)
    trial = [*_plain_pairs(wrapped), *([] if longest is None else [longest])]
    reason = _window(wrapped, trial[-1].length) or _difference(model, trial, packed, apart)
    if reason is None:
        return packed
    logger.warning("%s reads each reply in a row of its own: %s", type(wrapped).__name__, reason)
    return apart


def _plain_pairs(wrapped: PreTrainedModel) -> list[Pair]:
    tokens = plain_tokens(wrapped.config, 40)
    shapes = ((3, 9, 5), (5, 4, 8))
    pairs = []
    for prompt, chosen, rejected in shapes:
        both = prompt + chosen
        pairs.append(Pair(0, 0, tokens[:prompt], tokens[prompt:both], tokens[both : both + rejected]))
        tokens = tokens[both + rejected :]
    return pairs


def _window(wrapped: PreTrainedModel, longest: int) -> str | None:
    """A mask of four dimensions takes the place of the model's own, and with it of its window."""
    text = wrapped.config.get_text_config(decoder=True).to_dict()
    window = text.get("sliding_window") if text.get("use_sliding_window", True) else None
    chunk = text.get("attention_chunk_size")
    short = [size for size in (window, chunk) if size and longest > size]
    return f"it attends over {short[0]} tokens, and a prompt with its reply has {longest}" if short else None


def _difference(model: nn.Module, pairs: list[Pair], packed: PairReading, apart: PairReading) -> str | None:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            once = torch.cat([_log_probs(model, pair, packed) for pair in pairs], dim=1)
            twice = torch.cat([_log_probs(model, pair, apart) for pair in pairs], dim=1)
    except CANNOT as error:
        return f"it does not take both replies in one ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    finally:
        # Not model.train(): a frozen base stays in evaluation mode inside of an adapter that trains.
        for module, before in training.items():
            module.training = before
    tokens = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in pairs]).T.to(once.device)
    off = ((once - twice).abs() / tokens).max().item()
    if off <= _BORDERS.get(packed.dtype, _NARROW):
        return None
    return f"in one row, replies see each other (log-probabilities are off by {off:.2g} nats a token)"


def _log_probs(model: nn.Module, pair: Pair, reading: PairReading) -> Float[Tensor, "2 1"]:
    device = next(model.parameters()).device
    batch = {name: values.to(device) for name, values in collate([pair], pad_token_id=0).items()}
    return pair_log_probs(model, batch, reading)
