"""What a user said, found again among the tokens of a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import prompt_text

_ONE, _ANSWER, _OTHER = "alpha", "beta", "gamma"
_TRIED = (_OTHER, " delta ", "\n\nepsilon\n", ". zeta?!")
_ANSWERS = (_ANSWER, "\n\nBeta.", " ")


@dataclass(frozen=True)
class Turns:
    """The tokens that a chat template writes around what a user says.

    A gate that read whole conversations would go by their system message and by what was said before. So each thing
    that a user said is read by itself, as if it opened the conversation.

    Attributes:
        before: what stands before a user's first message, the template's own system message included, without white
            space at the end.
        opens: the end of it, which stands before each message of a user.
        closes: what ends each; so does what opens another.
        after: what stands between a user's last message and the reply.
    """

    before: tuple[int, ...]
    opens: tuple[int, ...]
    closes: tuple[int, ...]
    after: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.opens or not self.closes:
            raise ProsocialError("nothing stands before or after a user's messages, so that they cannot be found")

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Turns":
        """Those of a tokenizer's chat template.

        Raises:
            ProsocialError: a template that does not write a user's messages alike, between the same tokens, whatever
                stands before or after them.
        """
        one = prompt_text(tokenizer, _said(_ONE))
        several = prompt_text(tokenizer, _said(_ONE, _ANSWER, _OTHER))
        before, after = _around(one, _ONE)
        to_last, _ = _around(several, _OTHER)

        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        closes = ids(_common(after, _around(several, _ONE)[1]).rstrip())
        closes = closes[:1] if closes and closes[0] in special else closes
        # White space before a message may become one token with the message's own, and so is taken for a part of it.
        opens = ids(_common(before[::-1], to_last[::-1])[::-1].rstrip())
        # Whatever ended the message before is no part of what opens the next one.
        ended = [at + len(closes) for at in range(len(opens)) if closes and opens[at : at + len(closes)] == closes]
        opens = ids(str(tokenizer.decode(list(opens[ended[-1] :]))).lstrip()) if ended else opens
        found = cls(ids(before.rstrip()), opens, closes, ids(after)) if opens and closes else None
        if found is None or not all(found._finds(tokenizer, said) for said in _conversations()):
            raise ProsocialError(
                "the chat template does not write each message of a user between the same tokens, whatever stands "
                f"around it, so that a gate could not find them again: {several!r:.300}"
            )
        return found

    def _finds(self, tokenizer: PreTrainedTokenizerBase, said: list[dict[str, str]]) -> bool:
        """Whether a user's messages are found again in a conversation as each is by itself."""
        wanted = [_ids(tokenizer, [one]) for one in said if one["role"] == "user"]
        try:
            whole = _ids(tokenizer, said)
        except ProsocialError:
            return len(said) > 1  # A template may refuse system messages, or two in a row by one person.
        return self.of_user(whole) == wanted

    def alone(self, message: Sequence[int]) -> list[int]:
        """A message's tokens as if it opened a conversation."""
        return [*self.before, *message, *self.after]

    def said_from(self, ids: Sequence[int]) -> int:
        """Where, in a message that stands alone, what the user says begins; 0 in any other text."""
        count = len(self.before)
        return count if len(ids) > count and tuple(ids[:count]) == self.before else 0

    def of_user(self, ids: Sequence[int]) -> list[list[int]]:
        """Each message of a user in a conversation, alone; the text as it is where no message is found."""
        ids, found, at = tuple(ids), [], 0
        while (start := _find(ids, self.opens, at)) >= 0:
            start += len(self.opens)
            stops = [_find(ids, self.closes, start), _find(ids, self.opens, start), len(ids)]
            at = min(stop for stop in stops if stop >= 0)
            found.append(self.alone(ids[start:at]))
        return found or [list(ids)]


def _conversations() -> list[list[dict[str, str]]]:
    """With and without a system message, before or after the user's, and with all sorts of messages and answers."""
    system = {"role": "system", "content": "eta"}
    found = [_said(text) for text in _TRIED]
    found += [_said(_ONE, answer, text) for answer in _ANSWERS for text in _TRIED]
    found += [[system, *_said(_ONE, _ANSWER, text)] for text in _TRIED]
    found += [[*_said(_ONE), system], [*_said(_ONE), *_said(_OTHER)]]
    return found


def _said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def _ids(tokenizer: PreTrainedTokenizerBase, said: list[dict[str, str]]) -> list[int]:
    return list(tokenizer(prompt_text(tokenizer, said), add_special_tokens=False)["input_ids"])


def _common(one: str, other: str) -> str:
    """What both begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _around(text: str, message: str) -> tuple[str, str]:
    before, found, after = text.rpartition(message)
    if not found:
        raise ProsocialError(f"the chat template leaves out what a user says: {text!r:.300}")
    return before, after


def _find(ids: tuple[int, ...], part: tuple[int, ...], at: int) -> int:
    for start in range(at, len(ids) - len(part) + 1):
        if ids[start : start + len(part)] == part:
            return start
    return -1
