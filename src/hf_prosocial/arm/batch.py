"""Batches of pairs, one row a pair: the prompt once, then both replies, each seeing the prompt and itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hf_prosocial.data import Pair

PADDING, PROMPT, CHOSEN, REJECTED = range(4)


def collate(pairs: Sequence[Pair], pad_token_id: int) -> dict[str, Tensor]:
    """Rows of [prompt | chosen | rejected | padding].

    A prompt that is run once for both replies saves about a third of the work.

    Returns:
        input_ids, position_ids, segments, predictor (N, length) int64: segments are PADDING, PROMPT, CHOSEN or
        REJECTED, and predictor is the column whose logits predict a reply's token, -1 elsewhere; objective, line (N,)
        int64; reference (N, 2) fp32, NaN where a pair has none.
    """
    length = max(pair.packed_length for pair in pairs)
    input_ids = torch.full((len(pairs), length), pad_token_id)
    position_ids, segments = torch.zeros_like(input_ids), torch.full_like(input_ids, PADDING)
    predictor = torch.full_like(input_ids, -1)
    for row, pair in enumerate(pairs):
        prompt, chosen, rejected = len(pair.prompt), len(pair.chosen), len(pair.rejected)
        both = prompt + chosen
        used = both + rejected
        input_ids[row, :used] = torch.tensor(pair.prompt + pair.chosen + pair.rejected)
        position_ids[row, :both] = torch.arange(both)
        position_ids[row, both:used] = torch.arange(prompt, prompt + rejected)
        for columns, segment in (
            (slice(0, prompt), PROMPT),
            (slice(prompt, both), CHOSEN),
            (slice(both, used), REJECTED),
        ):
            segments[row, columns] = segment
        predictor[row, prompt:used] = torch.arange(prompt - 1, used - 1)
        predictor[row, both] = prompt - 1
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "segments": segments,
        "predictor": predictor,
        "objective": torch.tensor([pair.objective for pair in pairs]),
        "line": torch.tensor([pair.line for pair in pairs]),
        "reference": torch.tensor([pair.reference or (torch.nan, torch.nan) for pair in pairs]),
    }


@dataclass(frozen=True)
class PairCollator:
    """`collate` as a data collator for `transformers.Trainer`."""

    pad_token_id: int

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """`collate`."""
        return collate(pairs, self.pad_token_id)


def attention(segments: Int[Tensor, "rows length"]) -> Bool[Tensor, "rows 1 length length"]:
    """Which column sees which: earlier ones and itself, no padding, and a rejected reply not the chosen one."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    of, to = segments[:, :, None], segments[:, None, :]
    allowed = causal & (to != PADDING) & ~((of == REJECTED) & (to == CHOSEN))
    # Padding sees itself, because a row of attention that sees nothing is not a number.
    return (allowed | torch.eye(length, dtype=torch.bool, device=segments.device))[:, None]


def reply_tokens(segments: Int[Tensor, "rows length"]) -> Float[Tensor, "2 rows"]:
    """Tokens of the chosen and of the rejected reply of each row, end-of-turn tokens included."""
    return torch.stack([(segments == kind).sum(-1) for kind in (CHOSEN, REJECTED)]).float()
