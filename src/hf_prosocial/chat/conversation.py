"""A chat of several turns with a guided model, and what may be changed in the middle of it."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_prosocial.decoding import check_strength
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import write_text
from hf_prosocial.preference import Preference
from hf_prosocial.session import ChatSession, Step, about_edit, stream


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
        guidance: of each reply so far, the preference and β that were asked for, and how far the gate was open, if any.
    """

    session: ChatSession
    preference: Preference
    beta: float
    max_new_tokens: int
    compare: bool = False
    messages: list[dict[str, str]] = field(default_factory=list)
    guidance: list[dict[str, str | float]] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew."""
        self.messages, self.guidance = [], []

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
            ProsocialError: no number of 0 or above, or one too great.
        """
        try:
            beta = float(text)
        except ValueError:
            raise ProsocialError(f"β is a number, found {text!r}") from None
        check_strength(beta, None)
        self.beta = beta

    def asked(self, message: str) -> list[dict[str, str]]:
        """The conversation that ends with a message."""
        return [*self.messages, {"role": "user", "content": message}]

    def say(self, message: str) -> Generator[Step]:
        """Reply to a message, token by token; both are kept once the reply ends, or is closed in the middle.

        Raises:
            ProsocialError: a chat that is too long for the model; it is as before then.
        """
        asked = self.asked(message)
        reply: list[str] = []
        how: dict[str, str | float] = {"preference": str(self.preference), "beta": self.beta}
        opens = self.session.gate_opens(asked)
        how |= {} if opens is None else {"gate": opens}
        try:
            for step in stream(self.session, asked, self.preference, self.beta, self.max_new_tokens):
                reply.append(step.text)
                yield step
        finally:
            if reply:
                self.messages = [*asked, {"role": "assistant", "content": "".join(reply)}]
                self.guidance.append(how)

    def base_reply(self) -> Generator[Step]:
        """What the base by itself, unguided and unedited, would have said in place of the last reply."""
        alone = replace(self.session, safe_base=self.session.base)
        yield from stream(alone, self.messages[:-1], None, 0.0, self.max_new_tokens)

    def save(self, path: str | Path) -> Path:
        """Write the messages, and how each reply was guided, as JSON; an existing file is not touched.

        Raises:
            FileExistsError, FileNotFoundError: it exists, or there is no such folder.
            ProsocialError: nothing was said yet.
        """
        path = Path(path).expanduser()
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no folder {path.parent}")
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another name")
        if not self.messages:
            raise ProsocialError("nothing was said yet")
        about = {"base": self.session.source, "harm_vector": about_edit(self.session.edit)}
        content = {**about, "messages": self.messages, "guidance": self.guidance}
        write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        return path


def changed_of(steps: Sequence[Step]) -> str:
    """How many tokens the base would have chosen otherwise, in words."""
    changed = sum(step.instead is not None for step in steps)
    return f"{changed} of {len(steps)} tokens are others than the base would have chosen"
