"""Prompts with completions: what a copy is fine-tuned on, and what its loss is measured on."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows

from .chat import MalformedRowError, malformed_report, prompt_and_reply, row_of

FIELDS = ("prompt", "completion")
IGNORED = -100
"""The label of a token that the loss leaves out, as transformers has it."""


@dataclass(frozen=True)
class Completion:
    """One tokenised row; the completion ends with the end-of-turn token.

    Attributes:
        line: the row's line in its file, from 1.
        prompt, completion: token ids.
        position: where the hash of the prompt's text falls in [0, 1): rows of one prompt, in whichever file, fall
            together, so that a share of the prompts can be held out of several files alike.
    """

    line: int
    prompt: list[int]
    completion: list[int]
    position: float = 0.0

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.completion)


@dataclass
class Completions(Dataset):
    """The rows that can be used, and those that cannot, by line and reason."""

    rows: list[Completion] = field(default_factory=list)
    malformed: dict[int, MalformedRowError] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Completion:
        return self.rows[index]

    def held_out(self, share: float) -> "Completions":
        """The rows whose prompts fall into the first `share` of the hashes."""
        return Completions([row for row in self.rows if row.position < share], self.malformed)

    def without_held_out(self, share: float) -> "Completions":
        """The other rows."""
        return Completions([row for row in self.rows if row.position >= share], self.malformed)

    def report(self) -> str:
        """What was kept and what was left out, every line named."""
        return f"{len(self.rows)} rows; {malformed_report(self.malformed)}"


def read_completions(path: str | Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Completions:
    """Read a JSON-lines file of `{"prompt": ..., "completion": ...}`, each a list of chat messages or a plain string.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not one row can be used.
    """
    completions = _tokenized(json_rows(path), tokenizer, max_length)
    if not completions.rows:
        raise ProsocialError(f"no row of {path} can be used; {completions.report()}")
    return completions


def tokenize_completions(
    rows: Iterable[str | dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Completions:
    """Tokenise rows at hand, dictionaries or lines of JSON.

    Args:
        rows: the rows.
        tokenizer: the model's; chat messages go through its chat template.
        max_length: the most tokens of a row; longer ones are malformed, since a cut reply would teach where to stop.
    """
    return _tokenized(enumerate(rows, start=1), tokenizer, max_length)


def _tokenized(rows: Iterable[tuple[int, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Completions:
    found = Completions()
    for line, row in rows:
        try:
            fields = row_of(row, FIELDS)
            prompt, reply = prompt_and_reply(tokenizer, fields["prompt"], fields["completion"])
            completion = Completion(line, prompt, reply, _position(fields["prompt"]))
            if completion.length > max_length:
                raise MalformedRowError("too long", f"{completion.length} tokens, at most {max_length}")
            found.rows.append(completion)
        except MalformedRowError as error:
            found.malformed[line] = error
    return found


@dataclass(frozen=True)
class CompletionCollator:
    """A data collator for `transformers.Trainer`: labels on the completion's tokens alone."""

    pad_token_id: int

    def __call__(self, rows: Sequence[Completion]) -> dict[str, Tensor]:
        """input_ids, attention_mask, labels: (rows, length) int64, padded on the right."""
        ids = [torch.tensor(row.prompt + row.completion) for row in rows]
        labels = [torch.tensor([IGNORED] * len(row.prompt) + row.completion) for row in rows]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        }


def _position(prompt: Any) -> float:
    digest = hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
