"""What converters make of a source: rows, before they are chosen from and split."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Mapping[str, Sequence[dict[str, Any]]]
"""A source's rows by file."""

LONG_REPLY = 40
"""Characters from which on a reply that two rows share keeps them on one side of a split."""


@dataclass(frozen=True)
class Made:
    """One row.

    Attributes:
        group: what rows of one origin share, such as the line that was rewritten; never split.
        prompt: roles and contents of chat messages, the last of them a user's.
        replies: preferred and other; or one completion; or none.
        about: category, label, and the like.
    """

    group: str
    prompt: tuple[tuple[str, str], ...]
    replies: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Characters of the prompt and the longest reply."""
        return sum(len(text) for _, text in self.prompt) + max(map(len, self.replies), default=0)

    @property
    def prompt_key(self) -> str:
        """The prompt's words, for comparing; see `words_of`."""
        return " / ".join(words_of(text) for _, text in self.prompt)

    @property
    def identity(self) -> str:
        """All that it says, for an order that no run changes."""
        return "\x1f".join((self.group, *(text for _, text in self.prompt), *self.replies))

    def messages(self) -> list[dict[str, str]]:
        """The prompt as chat messages."""
        return [{"role": role, "content": text} for role, text in self.prompt]


def said(text: str) -> tuple[tuple[str, str], ...]:
    """A prompt of one message."""
    return (("user", text),)


def words_of(text: str) -> str:
    """Letters and digits in lower case, one space between words: what must not differ to be another text."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def clean(text: Any) -> str:
    """Text without spaces around it; unbreakable spaces become spaces."""
    return "" if text is None else str(text).replace("\xa0", " ").strip()


def rank(text: str) -> bytes:
    """Where a text falls in an order that looks random and never changes."""
    return hashlib.sha256(text.encode()).digest()
