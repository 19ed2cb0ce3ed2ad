"""What a user said, found again among the tokens of a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import prompt_text

_ONE, _ANSWER, _OTHER = "alpha", "beta", "gamma"
_TRIED = (_OTHER, " delta ", "\n\nepsilon\n", ". zeta?!")


@dataclass(frozen=True)
class Turns:
    """The tokens that a chat template writes around what a user says.

    A gate that read whole conversations would go by their system message and by what was said before. So each thing
    that a user said is read by itself, as if it opened the conversation.

    Attributes:
        before: what stands before a user's first message, the template's own system message included, without white
            space at the end.
        opens: the end of it, which stands before each message of a user.
        closes: what stands after each.
        after: what stands between a user's last message and the reply.
    """

    before: tuple[int, ...]
    opens: tuple[int, ...]
    closes: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Turns":
        """Those of a tokenizer's chat template.

        Raises:
            ProsocialError: a template that does not write a user's messages alike, between the same tokens.
        """
        one = prompt_text(tokenizer, _said(_ONE))
        several = prompt_text(tokenizer, _said(_ONE, _ANSWER, _OTHER))
        before, after = _around(one, _ONE)
        to_last, _ = _around(several, _OTHER)
        opens = _common(before[::-1], to_last[::-1])[::-1]
        closes = _common(after, _around(several, _ONE)[1])

        def ids(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        # White space before a message may become one token with the message's own, and so is taken for a part of it.
        found = cls(ids(before.rstrip()), ids(opens.rstrip()), ids(closes), ids(after))
        if not found.opens or not found.closes or not all(found._finds(tokenizer, text) for text in _TRIED):
            raise ProsocialError(
                "the chat template does not write each message of a user between the same tokens, so that a gate "
                f"could not find them again: {several!r:.300}"
            )
        return found

    def _finds(self, tokenizer: PreTrainedTokenizerBase, message: str) -> bool:
        """Whether a message is found again in a conversation, as it is by itself."""
        whole, one = (
            tokenizer(prompt_text(tokenizer, said), add_special_tokens=False)["input_ids"]
            for said in (_said(_ONE, _ANSWER, message), _said(message))
        )
        return self.of_user(whole)[1:] == [list(one)] and self.of_user(one) == [list(one)]

    def alone(self, message: Sequence[int]) -> list[int]:
        """A message's tokens as if it opened a conversation."""
        return [*self.before, *message, *self.after]

    def of_user(self, ids: Sequence[int]) -> list[list[int]]:
        """Each message of a user in a conversation, alone; the conversation as it is where there is none."""
        ids, found, at = tuple(ids), [], 0
        while (start := _find(ids, self.opens, at)) >= 0:
            start += len(self.opens)
            stop = _find(ids, self.closes, start)
            at = len(ids) if stop < 0 else stop
            found.append(self.alone(ids[start:at]))
        return found or [list(ids)]


def _said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


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
