"""Figures from a model's log-probabilities: loss on replies, loss on running text, multiple choice."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import IGNORED, Completion, CompletionCollator, Question, batches_by_length, text_windows
from hf_prosocial.precision import at_least_fp32


def completion_loss(
    model: nn.Module, rows: Sequence[Completion], *, pad_token_id: int, batch_tokens: int = 4096
) -> float:
    """Mean −log π(y_t | x, y_<t) over all tokens of the completions, end-of-turn tokens included; nats per token."""
    sums = completion_log_probs(model, rows, pad_token_id=pad_token_id, batch_tokens=batch_tokens)
    return -sums.sum().item() / sum(len(row.completion) for row in rows)


def completion_log_probs(
    model: nn.Module, rows: Sequence[Completion], *, pad_token_id: int, batch_tokens: int = 4096
) -> Float[Tensor, " rows"]:
    """Σ_t log π(y_t | x, y_<t) of each completion, nats, fp32.

    Args:
        model: a causal model.
        rows: tokenised prompts and completions.
        pad_token_id: fills the batches; masked, so that any id does.
        batch_tokens: the most tokens, padding included, of one forward pass.
    """
    sums = torch.empty(len(rows))
    collate = CompletionCollator(pad_token_id)
    device = next(model.parameters()).device
    for indices in batches_by_length([row.length for row in rows], batch_tokens):
        batch = {name: values.to(device) for name, values in collate([rows[index] for index in indices]).items()}
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            logits = model(**batch, use_cache=False).logits[:, :-1]
        row, column = (labels != IGNORED).nonzero(as_tuple=True)
        losses = nn.functional.cross_entropy(at_least_fp32(logits[row, column]), labels[row, column], reduction="none")
        sums[indices] = -torch.zeros(len(indices), device=device).index_add(0, row, losses).cpu()
    return sums


def mean_divergences(
    model: nn.Module,
    base: nn.Module,
    rows: Sequence[Completion],
    *,
    pad_token_id: int,
    batch_tokens: int = 2048,
    temperatures: Sequence[float] = (1.0,),
) -> Float[np.ndarray, "rows temperatures"]:
    """KL(model ‖ base) of the next token, averaged over each completion's tokens; nats per token.

    Args:
        model: a guided one gives log-probabilities as logits.
        base: of the same vocabulary.
        rows: tokenised prompts and completions, of the model's own where its text is in question.
        pad_token_id: fills the batches; masked, so that any id does.
        batch_tokens: the most tokens, padding included, of one forward pass.
        temperatures: that the model's logits are divided by, the base's never; a column each.
    """
    found = np.empty((len(rows), len(temperatures)))
    collate = CompletionCollator(pad_token_id)
    device = next(model.parameters()).device
    for indices in batches_by_length([row.length for row in rows], batch_tokens):
        batch = {name: values.to(device) for name, values in collate([rows[index] for index in indices]).items()}
        row, column = (batch.pop("labels")[:, 1:] != IGNORED).nonzero(as_tuple=True)
        with torch.no_grad():
            one, other = (each(**batch, use_cache=False).logits[:, :-1][row, column] for each in (model, base))
        one, other = at_least_fp32(one), at_least_fp32(other).log_softmax(-1)
        for place, temperature in enumerate(temperatures):
            own = (one / temperature).log_softmax(-1)
            # A token that the model bars contributes nothing, whatever the base says of it.
            terms = (own.exp() * (own - other)).nan_to_num(nan=0.0).sum(-1).cpu()
            sums = torch.zeros(len(indices)).index_add(0, row.cpu(), terms)
            found[indices, place] = (sums / torch.bincount(row.cpu(), minlength=len(indices))).double().numpy()
    return found


def text_loss(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, text: str, *, window: int = 1024, tokens: int | None = None
) -> float:
    """Mean loss of running text, nats per token, in windows that do not overlap; the first token of each is given.

    Args:
        model: a causal model.
        tokenizer: its tokenizer.
        text: what is read, without special tokens.
        window: tokens that are seen together.
        tokens: read no more than the first so many; by default all.

    Raises:
        ValueError: fewer than two tokens.
    """
    losses = window_losses(model, tokenizer, text, window=window, tokens=tokens)
    return float(losses[:, 0].sum() / losses[:, 1].sum())


def window_losses(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    window: int = 1024,
    tokens: int | None = None,
    temperatures: Sequence[float] = (1.0,),
) -> Float[np.ndarray, "windows columns"]:
    """Each window's summed loss in nats, a column for each temperature, and then its predicted tokens.

    Args:
        model: whose logits are read.
        tokenizer: its tokenizer.
        text: running text.
        window: tokens of a window.
        tokens: read no more than so many; None is all.
        temperatures: that the model's logits are divided by.

    Raises:
        ValueError: fewer than two tokens.
    """
    device = next(model.parameters()).device
    found = []
    for piece in text_windows(tokenizer, text, window, tokens):
        piece = piece.to(device)
        with torch.no_grad():
            logits = model(piece[None], use_cache=False).logits[0, :-1]
        logits = at_least_fp32(logits)
        losses = [nn.functional.cross_entropy(logits / one, piece[1:], reduction="sum").item() for one in temperatures]
        found.append((*losses, len(piece) - 1))
    return np.array(found, dtype=np.float64)


def choice_accuracy(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    pad_token_id: int,
    batch_tokens: int = 4096,
) -> float:
    """Share of questions whose right answer has the highest log-probability per token after "Question: ... Answer:"."""
    right = right_answers(model, tokenizer, questions, pad_token_id=pad_token_id, batch_tokens=batch_tokens)
    return float(right.mean())


def right_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    pad_token_id: int,
    batch_tokens: int = 4096,
) -> Bool[np.ndarray, " questions"]:
    """Whether each question is answered right, as `choice_accuracy` counts; not where every choice is barred (−inf)."""
    rows = [
        Completion(line, prompt, answer)
        for line, question in enumerate(questions)
        for prompt, answer in _answers(tokenizer, question)
    ]
    sums = completion_log_probs(model, rows, pad_token_id=pad_token_id, batch_tokens=batch_tokens)
    scores = sums / torch.tensor([len(row.completion) for row in rows])
    of_questions = scores.split([len(question.choices) for question in questions])
    # Under a safe set every choice may be barred; then none is chosen, and the first must not win for being first.
    return np.array(
        [
            int(one.argmax()) == question.answer and bool(one.max() > -torch.inf)
            for one, question in zip(of_questions, questions, strict=True)
        ]
    )


def _answers(tokenizer: PreTrainedTokenizerBase, question: Question) -> list[tuple[list[int], list[int]]]:
    prompt = list(tokenizer(f"Question: {question.question}\nAnswer:")["input_ids"])
    return [
        (prompt, list(tokenizer(f" {choice}", add_special_tokens=False)["input_ids"])) for choice in question.choices
    ]
