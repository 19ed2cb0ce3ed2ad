"""Batches of pairs, one row a pair: the prompt once, then both replies, each seeing the prompt and itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from hf_prosocial.data import Pair
from hf_prosocial.errors import ProsocialError
from hf_prosocial.precision import at_least_fp32

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


def pair_log_probs(model: nn.Module, batch: dict[str, Tensor], dtype: torch.dtype) -> Float[Tensor, "2 rows"]:
    """Σ_t log π(y_t | x, y_<t) of the chosen and of the rejected replies, in nats, end-of-turn tokens included; fp32.

    Args:
        model: a decoder-only model that takes a mask of four dimensions (see `check_attention`).
        batch: from `collate`, on the model's device.
        dtype: the model's, in which attention adds the mask.
    """
    segments = batch["segments"]
    mask = torch.zeros(1, dtype=dtype, device=segments.device).masked_fill(~attention(segments), torch.finfo(dtype).min)
    row, column = (batch["predictor"] >= 0).nonzero(as_tuple=True)
    predictor = batch["predictor"][row, column]
    # Columns are named one by one because a slice of the hidden states is not contiguous, and the output layer would
    # then copy its weight for every row.
    first = int(predictor.min().item())
    columns = torch.arange(first, segments.shape[1], device=segments.device)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=mask,
        position_ids=batch["position_ids"],
        logits_to_keep=columns,
        use_cache=False,
    ).logits
    predicted = at_least_fp32(logits[row, predictor - first])
    log_probs = -nn.functional.cross_entropy(predicted, batch["input_ids"][row, column], reduction="none")
    slot = row + len(segments) * (segments[row, column] == REJECTED).long()
    return log_probs.new_zeros(2 * len(segments)).index_add(0, slot, log_probs).view(2, -1)


def check_attention(config: PreTrainedConfig, longest: int) -> None:
    """Refuse a model whose attention would not honour the mask of `pair_log_probs`.

    Args:
        config: the model's.
        longest: the most tokens of a prompt with a reply.

    Raises:
        ValueError: recurrent or chunked layers, windows that are shorter than a sequence, or an attention kernel that
            takes no mask of four dimensions.
    """
    text = config.get_text_config().to_dict()
    kinds = set(text.get("layer_types") or ["full_attention"])
    window = text.get("sliding_window")
    if not kinds <= {"full_attention", "sliding_attention"} or config._attn_implementation not in ("eager", "sdpa"):
        raise ProsocialError(
            "each prompt is shared by two replies, which needs attention layers and the sdpa or eager kernel; found "
            f"layers {sorted(kinds)} and the kernel {config._attn_implementation!r}. Load the model with "
            "attn_implementation='sdpa', or choose another base"
        )
    if window is not None and longest > window:
        raise ProsocialError(
            f"the model attends over a window of {window} tokens, but a prompt and its reply have {longest}; lower "
            f"max_length to {window}"
        )
