"""What converters make of a source: rows, before they are chosen from and split."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import category, normalize

from hf_prosocial.errors import ProsocialError

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
        """The prompt's words, for comparing, system messages left out; see `words_of`."""
        return " / ".join(words_of(text) for role, text in self.prompt if role != "system")

    @property
    def asked(self) -> set[str]:
        """The words of each message of the user."""
        return {words_of(text) for role, text in self.prompt if role == "user"}

    @property
    def identity(self) -> str:
        """All that it says, for an order that no run changes."""
        about = json.dumps(self.about, sort_keys=True, ensure_ascii=False)
        return "\x1f".join((self.group, *(text for _, text in self.prompt), *self.replies, about))

    def messages(self) -> list[dict[str, str]]:
        """The prompt as chat messages."""
        return [{"role": role, "content": text} for role, text in self.prompt]


@dataclass(frozen=True)
class Left:
    """A row of which a converter makes nothing, and why; to be counted."""

    reason: str


def said(text: str) -> tuple[tuple[str, str], ...]:
    """A prompt of one message."""
    return (("user", text),)


class _Kept(dict[int, str]):
    """What counts of a character: letters, their marks and digits; others part words, invisible ones are nothing."""

    def __missing__(self, code: int) -> str:
        kind = category(chr(code))
        self[code] = chr(code) if kind[0] in "LNM" else "" if kind == "Cf" else " "
        return self[code]


_KEPT = _Kept()


def words_of(text: str) -> str:
    """Letters, their marks and digits, one space between words: what must not differ to be another text.

    Compatible forms of a character are one (NFKC), case and invisible characters do not count.
    """
    return " ".join(normalize("NFKC", text).casefold().translate(_KEPT).split())


def clean(text: Any) -> str:
    """Text without spaces around it; unbreakable spaces become spaces, nothing and NaN no text.

    Raises:
        ProsocialError: a list or an object.
    """
    if text is None or text != text:
        return ""
    if isinstance(text, list | dict):
        raise ProsocialError(f"a text was expected, found {type(text).__name__}: {text!r:.80}")
    return str(text).replace("\xa0", " ").strip()


def rank(text: str) -> bytes:
    """Where a text falls in an order that looks random and never changes."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
