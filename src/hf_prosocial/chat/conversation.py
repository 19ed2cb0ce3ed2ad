"""A chat of several turns with a guided model, and what may be changed in the middle of it."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import write_text
from hf_prosocial.preference import Preference
from hf_prosocial.session import ChatSession, Step, stream


@dataclass
class Conversation:
    """What was said, and how the next reply is guided.

    Attributes:
        session: base, ARM and harm vector.
        preference: over the ARM's objectives.
        beta: β; 0 leaves the ARM out.
        max_new_tokens: the most of a reply.
        compare: whether the base's own reply to the same conversation stands beside each.
        messages: chat messages so far.
    """

    session: ChatSession
    preference: Preference
    beta: float
    max_new_tokens: int
    compare: bool = False
    messages: list[dict[str, str]] = field(default_factory=list)

    def set_preference(self, text: str) -> None:
        """Guide by other weights from the next reply on; where β was 0 it becomes 1, for the weights would say nothing.

        Raises:
            ProsocialError: weights that cannot be read.
        """
        self.preference = Preference.parse(text, objectives=self.session.objectives)
        self.beta = self.beta or 1.0

    def set_beta(self, text: str) -> None:
        """Another strength from the next reply on.

        Raises:
            ProsocialError: no number of 0 or above.
        """
        try:
            beta = float(text)
        except ValueError:
            raise ProsocialError(f"β is a number, found {text!r}") from None
        if not 0 <= beta < float("inf"):
            raise ProsocialError(f"β is 0 or above, and finite; found {text}")
        self.beta = beta

    def say(self, message: str) -> Generator[Step]:
        """Reply to a message, token by token; both are kept once the reply ends, or is closed in the middle.

        Raises:
            ProsocialError: a chat that is too long for the model; it is as before then.
        """
        asked = [*self.messages, {"role": "user", "content": message}]
        reply: list[str] = []
        try:
            for step in stream(self.session, asked, self.preference, self.beta, self.max_new_tokens):
                reply.append(step.text)
                yield step
        finally:
            if reply:
                self.messages = [*asked, {"role": "assistant", "content": "".join(reply)}]

    def base_reply(self) -> Generator[Step]:
        """What the base by itself, unguided and unedited, would have said in place of the last reply."""
        alone = replace(self.session, safe_base=self.session.base)
        yield from stream(alone, self.messages[:-1], None, 0.0, self.max_new_tokens)

    def save(self, path: str | Path) -> Path:
        """Write the messages and how they were guided as JSON; an existing file is not touched.

        Raises:
            FileExistsError: it exists.
        """
        path = Path(path).expanduser()
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another name")
        content = {"base": self.session.source, "preference": str(self.preference), "beta": self.beta}
        write_text(path, json.dumps(content | {"messages": self.messages}, ensure_ascii=False, indent=1) + "\n")
        return path


def changed_of(steps: Sequence[Step]) -> str:
    """How many tokens the base would have chosen otherwise, in words."""
    changed = sum(step.instead is not None for step in steps)
    return f"{changed} of {len(steps)} tokens are others than the base would have chosen"
