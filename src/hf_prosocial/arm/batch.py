"""Batches of pairs: chosen and rejected sequences as rows, aligned at the right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .pairs import Pair


def collate(pairs: Sequence[Pair], pad_token_id: int) -> dict[str, Tensor]:
    """Rows 0 ... N-1 are the chosen sequences of the N pairs, rows N ... 2N-1 the rejected ones.

    Sequences are padded on the left, so that all replies end in the last column and only the last columns need the
    vocabulary's logits.

    Returns:
        input_ids, attention_mask, position_ids (2N, length) int64; reply_mask (2N, longest reply) int64, 1 where the
        last columns belong to the reply; objective, line (N,) int64.
    """
    rows = [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]
    length = max(len(prompt) + len(reply) for prompt, reply in rows)
    longest_reply = max(len(reply) for _, reply in rows)
    input_ids = torch.full((len(rows), length), pad_token_id)
    attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
    reply_mask = torch.zeros(len(rows), longest_reply, dtype=torch.long)
    for index, (prompt, reply) in enumerate(rows):
        tokens = prompt + reply
        input_ids[index, length - len(tokens) :] = torch.tensor(tokens)
        attention_mask[index, length - len(tokens) :] = 1
        reply_mask[index, longest_reply - len(reply) :] = 1
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0),
        "reply_mask": reply_mask,
        "objective": torch.tensor([pair.objective for pair in pairs]),
        "line": torch.tensor([pair.line for pair in pairs]),
    }


@dataclass(frozen=True)
class PairCollator:
    """`collate` as a data collator for `transformers.Trainer`."""

    pad_token_id: int

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        return collate(pairs, self.pad_token_id)


def reply_log_probs(
    model: nn.Module,
    input_ids: Int[Tensor, "rows length"],
    attention_mask: Int[Tensor, "rows length"],
    position_ids: Int[Tensor, "rows length"],
    reply_mask: Int[Tensor, "rows reply"],
) -> Float[Tensor, " rows"]:
    """Σ_t log π(y_t | x, y_<t) of each row's reply y, in nats, its end-of-turn token included; fp32, shape (rows,)."""
    length, width = input_ids.shape[1], reply_mask.shape[1]
    # The logits of a column predict the next one. Columns are named one by one because a slice of the hidden states
    # is not contiguous, and the output layer would then copy its weight for every row.
    columns = torch.arange(length - width - 1, length - 1, device=input_ids.device)
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        logits_to_keep=columns,
        use_cache=False,
    ).logits
    wanted = reply_mask.bool()
    targets = input_ids[:, -width:][wanted]
    log_probs = -torch.nn.functional.cross_entropy(logits[wanted].float(), targets, reduction="none")
    row = wanted.nonzero()[:, 0]
    return torch.zeros(len(input_ids), device=log_probs.device).index_add(0, row, log_probs)
