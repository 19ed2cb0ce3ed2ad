"""Replies on disk, one JSON object a line: a killed run loses at most the batch that it was in."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import append_json_lines, mend_lines, whole_lines_of, write_text


@dataclass(frozen=True)
class ReplyKey:
    """What a variant's reply answers: a prompt of a benchmark, under a preference ("" where it heeds none)."""

    benchmark: str
    prompt: str
    preference: str


class ReplyStore:
    """A file of one variant's replies, opened to go on with it.

    Its first line holds the settings that all of its replies were made with; the others a key, and the reply.

    Args:
        path: the file; begun where there is none.
        settings: whatever a reply follows from beside its key: models, strengths, lengths, hashes of the prompts.

    Raises:
        ValueError: the file was begun with other settings, or holds a line that is no reply. A last line that is cut
            off, as a kill leaves it, is taken away.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.replies: dict[ReplyKey, str] = {}
        header = json.loads(json.dumps(settings))
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps({"settings": header}, ensure_ascii=False) + "\n")
            return
        first, *rest = whole_lines_of(self.path) or [""]
        self._check_header(first, header)
        for number, line in enumerate(rest, start=2):
            key, reply = self._parse(number, line)
            if key in self.replies:
                raise ProsocialError(f"{self.path}, line {number}: a second reply to {key}")
            self.replies[key] = reply
        mend_lines(self.path)

    def append(self, replies: Iterable[tuple[ReplyKey, str]]) -> None:
        """Add replies, and see them onto the disk.

        Raises:
            ValueError: a key that has a reply already.
        """
        new = dict(replies)
        twice = [key for key in new if key in self.replies]
        if twice:
            raise ProsocialError(f"there is a reply to {twice[0]} already")
        append_json_lines(self.path, (asdict(key) | {"reply": reply} for key, reply in new.items()))
        self.replies |= new

    def _check_header(self, line: str, settings: dict[str, Any]) -> None:
        try:
            found = dict(json.loads(line)["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise ProsocialError(f"{self.path} does not begin with settings; it is no file of replies") from error
        if found != settings:
            names = sorted(name for name in {*found, *settings} if found.get(name) != settings.get(name))
            before, now = ({name: one.get(name) for name in names} for one in (found, settings))
            raise ProsocialError(
                f"{self.path} was begun with other settings ({before}, now {now}); keep them, or choose another file"
            )

    def _parse(self, number: int, line: str) -> tuple[ReplyKey, str]:
        try:
            row = json.loads(line)
            reply = row.pop("reply")
            if not all(isinstance(one, str) for one in (reply, *row.values())):
                raise TypeError("a value that is no text")
            return ReplyKey(**row), reply
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProsocialError(f"{self.path}, line {number}: no reply ({error})") from error
