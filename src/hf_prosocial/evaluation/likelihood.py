"""Figures from a model's log-probabilities: loss on replies, loss on running text, multiple choice."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from hf_prosocial.batching import batches_by_length
from hf_prosocial.direg.completions import IGNORED, Completion, CompletionCollator


@dataclass(frozen=True)
class Question:
    """A multiple-choice question: what is asked, the answers, and the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


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
        losses = nn.functional.cross_entropy(logits[row, column].float(), labels[row, column], reduction="none")
        sums[indices] = -torch.zeros(len(indices), device=device).index_add(0, row, losses).cpu()
    return sums


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
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:tokens])
    if len(ids) < 2:
        raise ValueError(f"a text of at least 2 tokens is needed, found {len(ids)}")
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, window):
        piece = ids[start : start + window].to(device)
        with torch.no_grad():
            logits = model(piece[None], use_cache=False).logits[0, :-1]
        total += nn.functional.cross_entropy(logits.float(), piece[1:], reduction="sum").item()
        count += len(piece) - 1
    return total / count


def choice_accuracy(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    pad_token_id: int,
    batch_tokens: int = 4096,
) -> float:
    """Share of questions whose right answer has the highest log-probability per token after "Question: ... Answer:"."""
    rows = [
        Completion(line, prompt, answer)
        for line, question in enumerate(questions)
        for prompt, answer in _answers(tokenizer, question)
    ]
    sums = completion_log_probs(model, rows, pad_token_id=pad_token_id, batch_tokens=batch_tokens)
    scores = sums / torch.tensor([len(row.completion) for row in rows])
    right, position = 0, 0
    for question in questions:
        of_question = scores[position : position + len(question.choices)]
        right += int(of_question.argmax()) == question.answer
        position += len(question.choices)
    return right / len(questions)


def read_questions(path: str | Path) -> list[Question]:
    """Read JSON lines of `{"question": ..., "options": "A. one\\nB. two...", "answer": "A. one"}`.

    Raises:
        ValueError: a row without these, by its line.
    """
    questions = []
    with Path(path).open(encoding="utf-8") as lines:
        for line, text in enumerate(lines, start=1):
            try:
                questions.append(_question(json.loads(text)))
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                raise ValueError(f"{path}, line {line}: no multiple-choice question ({error!r})") from error
    return questions


def _answers(tokenizer: PreTrainedTokenizerBase, question: Question) -> list[tuple[list[int], list[int]]]:
    prompt = list(tokenizer(f"Question: {question.question}\nAnswer:")["input_ids"])
    return [
        (prompt, list(tokenizer(f" {choice}", add_special_tokens=False)["input_ids"])) for choice in question.choices
    ]


def _question(row: dict[str, Any]) -> Question:
    options = [option.strip() for option in row["options"].strip().split("\n")]
    # What follows the letter is scored, so that a letter's own probability decides nothing.
    choices = tuple(option.split(". ", 1)[1] for option in options)
    return Question(row["question"], choices, options.index(row["answer"].strip()))
