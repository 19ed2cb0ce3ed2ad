"""Preference pairs: read them, check every row, and turn them into tokens."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows

from .chat import MalformedRowError, malformed_report, prompt_and_reply, row_of

FIELDS = ("attribute", "prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Pair:
    """One tokenised comparison: for `prompt`, people preferred `chosen` to `rejected` in one objective.

    Attributes:
        line: the row's line in its file, from 1.
        objective: index of the row's attribute among the model's objectives.
        prompt, chosen, rejected: token ids; the replies end with the end-of-turn token.
        reference: log π_0 of the chosen and of the rejected reply, nats, where they were run before (`with_reference`).
    """

    line: int
    objective: int
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    reference: tuple[float, float] | None = None

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def packed_length(self) -> int:
        """Tokens of the prompt and both replies: what the pair costs."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass
class Pairs:
    """The rows that can be trained on, and those that cannot, by line and reason; and the file that they came from."""

    objectives: tuple[str, ...]
    rows: list[Pair] = field(default_factory=list)
    malformed: dict[int, MalformedRowError] = field(default_factory=dict)
    file: Path | None = None

    def counts(self) -> dict[str, int]:
        """Rows to train on, by objective."""
        found = Counter(pair.objective for pair in self.rows)
        return {name: found[index] for index, name in enumerate(self.objectives)}

    def report(self) -> str:
        """What was kept and what was left out, every line named."""
        kept = ", ".join(f"{name} {count}" for name, count in self.counts().items())
        return f"{len(self.rows)} pairs ({kept}); {malformed_report(self.malformed)}"


def read_pairs(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, objectives: Sequence[str], max_length: int
) -> Pairs:
    """Read a JSON-lines file in TRL's preference format plus `attribute`, and tokenise it.

    A row is `{"attribute": name, "prompt": ..., "chosen": ..., "rejected": ...}`, each text a list of chat messages or
    a plain string. Where people preferred the reply in several objectives, `attribute` is a list of names, and the row
    becomes a pair for each. A malformed row is left out and kept, with its line and reason, in `Pairs.malformed`.

    Args:
        path: the file.
        tokenizer: the ARM's; chat messages go through its chat template.
        objectives: the ARM's objectives, in order.
        max_length: the most tokens that prompt and reply may have together. Longer rows are malformed: a cut reply
            would teach where to stop.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not one row can be trained on.
    """
    pairs = _tokenized(json_rows(path), tokenizer, objectives, max_length)
    pairs.file = Path(path)
    if not pairs.rows:
        raise ProsocialError(f"no row of {path} can be trained on; {pairs.report()}")
    return pairs


def tokenize_rows(
    rows: Iterable[str | dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    objectives: Sequence[str],
    max_length: int,
) -> Pairs:
    """Tokenise rows at hand, dictionaries or lines of JSON; lines count from 1. See `read_pairs`."""
    return _tokenized(enumerate(rows, start=1), tokenizer, objectives, max_length)


def _tokenized(
    rows: Iterable[tuple[int, Any]], tokenizer: PreTrainedTokenizerBase, objectives: Sequence[str], max_length: int
) -> Pairs:
    pairs = Pairs(tuple(objectives))
    for line, row in rows:
        try:
            pairs.rows += _pairs_of(line, row, tokenizer, pairs.objectives, max_length)
        except MalformedRowError as error:
            pairs.malformed[line] = error
    return pairs


def _pairs_of(
    line: int,
    row: str | dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    objectives: tuple[str, ...],
    max_length: int,
) -> list[Pair]:
    row = row_of(row, FIELDS)
    names = row["attribute"] if isinstance(row["attribute"], list) else [row["attribute"]]
    unknown = [name for name in names if not isinstance(name, str) or name not in objectives]
    if unknown or not names:
        raise MalformedRowError("unknown attribute", f"{row['attribute']!r} is not among {list(objectives)}")
    if len(set(names)) < len(names):
        raise MalformedRowError("an attribute twice", str(names))
    prompt, chosen = prompt_and_reply(tokenizer, row["prompt"], row["chosen"])
    _, rejected = prompt_and_reply(tokenizer, row["prompt"], row["rejected"])
    if chosen == rejected:
        raise MalformedRowError("both replies alike")
    pairs = [Pair(line, objectives.index(name), prompt, chosen, rejected) for name in names]
    if pairs[0].length > max_length:
        raise MalformedRowError("too long", f"{pairs[0].length} tokens, at most {max_length}")
    return pairs
