"""Benchmarks: files of prompts, with their categories and labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows

from .chat import MalformedRowError, are_messages, row_of


@dataclass(frozen=True)
class Prompt:
    """A conversation to answer.

    Attributes:
        benchmark: where it is from.
        identity: its line there, from 1.
        conversation: roles and contents of chat messages, the last of them a user's.
        category, label: as the benchmark has them.
    """

    benchmark: str
    identity: str
    conversation: tuple[tuple[str, str], ...]
    category: str | None = None
    label: str | None = None

    def messages(self) -> list[dict[str, str]]:
        """Chat messages, in the form that chat templates take."""
        return [{"role": role, "content": content} for role, content in self.conversation]


def read_prompts(path: str | Path, benchmark: str | None = None) -> list[Prompt]:
    """Read JSON lines of `prompt` (chat messages, or a text), and `category` and `label` where there are any.

    Args:
        path: the file.
        benchmark: its name; by default the file's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a row that is no prompt, by its line; or no row at all.
    """
    path = Path(path)
    name = benchmark or path.stem
    found = []
    for line, text in json_rows(path):
        try:
            found.append(_prompt_of(name, line, row_of(text, ("prompt",))))
        except MalformedRowError as error:
            raise ProsocialError(f"{path}, line {line}: no prompt ({error})") from error
    if not found:
        raise ProsocialError(f"{path} holds no prompt")
    return found


def labelled(prompts: Sequence[Prompt], label: str, count: int | None = None) -> list[Prompt]:
    """Those with a label, or `count` of them, spread evenly.

    Raises:
        ValueError: none has it.
    """
    chosen = [prompt for prompt in prompts if prompt.label == label]
    if not chosen:
        labels = dict(Counter(prompt.label for prompt in prompts))
        raise ProsocialError(f"no prompt is labelled {label!r}; the labels are {labels}")
    return chosen[:: max(1, len(chosen) // (count or len(chosen)))][:count]


def spread(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """All of them, or `count`, evenly spread over their order.

    Raises:
        ValueError: there are fewer.
    """
    if count is None:
        return list(prompts)
    if count > len(prompts):
        raise ProsocialError(f"{count} prompts are asked for; there are {len(prompts)}")
    return [prompts[index * len(prompts) // count] for index in range(count)]


def conversation_of(prompt: Any) -> tuple[tuple[str, str], ...]:
    """Roles and contents of chat messages, or of a text that a user says.

    Raises:
        MalformedRowError: neither, or messages that do not end with a user's.
    """
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not are_messages(prompt) or prompt[-1]["role"] != "user" or not prompt[-1]["content"].strip():
        raise MalformedRowError("not chat messages that end with a user's", f"{prompt!r:.80}")
    return tuple((message["role"], message["content"]) for message in prompt)


def _prompt_of(benchmark: str, line: int, row: dict[str, Any]) -> Prompt:
    category, label = row.get("category"), row.get("label")
    if not isinstance(label, str | None) or not isinstance(category, str | int | None):
        raise MalformedRowError("no text", f"category and label are texts, found {category!r} and {label!r}")
    category = None if category is None else str(category)
    return Prompt(benchmark, str(line), conversation_of(row["prompt"]), category, label)
