"""log π(y | x) of both replies of pairs, whether they are read in one row or apart."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_prosocial.precision import at_least_fp32

from .batch import CHOSEN, PROMPT, REJECTED, attention


@dataclass(frozen=True)
class PairReading:
    """How a model reads pairs.

    Attributes:
        dtype: of the model, in which attention adds the mask.
        packed: prompt and both replies are one row, by a mask of four dimensions; else each reply is in a row with its
            prompt, which every causal model reads right, at about 1.5 times the cost.
        takes_position_ids: an input of the model.
        keeps_logits: the model can leave out the logits of columns.
    """

    dtype: torch.dtype
    packed: bool = True
    takes_position_ids: bool = True
    keeps_logits: bool = True


def pair_log_probs(model: nn.Module, batch: dict[str, Tensor], reading: PairReading) -> Float[Tensor, "2 rows"]:
    """Σ_t log π(y_t | x, y_<t) of the chosen and of the rejected replies, in nats, end-of-turn tokens included; fp32.

    Args:
        model: a decoder-only model.
        batch: from `collate`, on the model's device.
        reading: from `reading_of`.
    """
    if reading.packed:
        return _packed(model, batch, reading)
    return torch.stack([_alone(model, batch, kind, reading) for kind in (CHOSEN, REJECTED)])


def _packed(model: nn.Module, batch: dict[str, Tensor], reading: PairReading) -> Float[Tensor, "2 rows"]:
    segments, dtype = batch["segments"], reading.dtype
    mask = torch.zeros(1, dtype=dtype, device=segments.device).masked_fill(~attention(segments), torch.finfo(dtype).min)
    row, column = (batch["predictor"] >= 0).nonzero(as_tuple=True)
    predictor = batch["predictor"][row, column]
    inputs = {"input_ids": batch["input_ids"], "attention_mask": mask}
    predicted = _predictions(model, inputs, batch["position_ids"], row, predictor, reading)
    log_probs = -nn.functional.cross_entropy(predicted, batch["input_ids"][row, column], reduction="none")
    slot = row + len(segments) * (segments[row, column] == REJECTED).long()
    return log_probs.new_zeros(2 * len(segments)).index_add(0, slot, log_probs).view(2, -1)


def _alone(model: nn.Module, batch: dict[str, Tensor], kind: int, reading: PairReading) -> Float[Tensor, " rows"]:
    """One reply of each pair in a row with its prompt, padded on the right, where a causal model never looks."""
    segments = batch["segments"]
    rows = len(segments)
    wanted = (segments == PROMPT) | (segments == kind)
    length = int(wanted.sum(-1).max().item())
    row, source = wanted.nonzero(as_tuple=True)
    column = (wanted.cumsum(-1) - 1)[row, source]
    ids = torch.zeros(rows, length, dtype=torch.long, device=segments.device)
    ids[row, column] = batch["input_ids"][row, source]
    mask = torch.zeros_like(ids)
    mask[row, column] = 1
    reply = segments[row, source] == kind
    row, column = row[reply], column[reply]
    positions = torch.arange(length, device=ids.device).expand(rows, -1)
    inputs = {"input_ids": ids, "attention_mask": mask}
    predicted = _predictions(model, inputs, positions, row, column - 1, reading)
    log_probs = -nn.functional.cross_entropy(predicted, ids[row, column], reduction="none")
    return log_probs.new_zeros(rows).index_add(0, row, log_probs)


def _predictions(
    model: nn.Module,
    inputs: dict[str, Tensor],
    position_ids: Int[Tensor, "rows length"],
    row: Int[Tensor, " tokens"],
    predictor: Int[Tensor, " tokens"],
    reading: PairReading,
) -> Float[Tensor, "tokens vocabulary"]:
    """The logits that predict some tokens, at least fp32."""
    first = 0
    if reading.takes_position_ids:
        inputs["position_ids"] = position_ids
    if reading.keeps_logits:
        # Columns are named one by one because a slice of the hidden states is not contiguous, and the output layer
        # would then copy its weight for every row.
        first = int(predictor.min().item())
        inputs["logits_to_keep"] = torch.arange(first, position_ids.shape[1], device=position_ids.device)
    return at_least_fp32(model(**inputs, use_cache=False).logits[row, predictor - first])
