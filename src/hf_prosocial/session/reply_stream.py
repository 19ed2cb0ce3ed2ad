"""A reply token by token, with what base and guidance said to each."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from queue import Queue
from threading import Event, Thread
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from hf_prosocial.decoding import ProSocialProcessor
from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import prompt_batch, replies_to
from hf_prosocial.preference import Preference

from .chat_session import ChatSession


@dataclass(frozen=True)
class Step:
    """One token of a reply.

    Attributes:
        text: what it adds.
        base, guided: its probability without and with guidance.
        instead: what the base holds most probable there, and how probable, where that is another token; else None.
        ends: whether the model ended its reply with it; a reply without such a step was cut off.
    """

    text: str
    base: float
    guided: float
    instead: tuple[str, float] | None
    ends: bool = False


def stream(
    session: ChatSession,
    conversation: Sequence[dict[str, str]],
    preference: Preference | None,
    beta: float,
    max_new_tokens: int,
) -> Iterator[Step]:
    """The most probable reply, as it is made. Closing the iterator ends the generation.

    Args:
        session: base and ARM; the safe base is what answers.
        conversation: chat messages, the last a user's.
        preference: of the ARM's objectives; None leaves the base unguided.
        beta: strength of guidance, >= 0.
        max_new_tokens: length of the reply.

    Raises:
        ProsocialError: as `ProSocialProcessor`; a chat that is too long for the model.
    """
    length = prompt_batch(session.tokenizer, [list(conversation)]).input_ids.shape[1] + max_new_tokens
    most = session.base.config.get_text_config().max_position_embeddings
    if length > most:
        raise ProsocialError(f"chat and reply would be {length} tokens, and the model reads {most}; begin a new chat")
    before, after = _Record(), _Record()
    processors: list[Any] = [before, after]
    watched: Any = nullcontext()
    if preference is not None:
        guide = ProSocialProcessor(session.arm, preference, beta=beta, tokenizer=session.tokenizer)
        processors, watched = [before, guide, after], guide.must_guide()
    found: Queue[tuple[int, Tensor, Tensor] | BaseException | None] = Queue()
    told = _Tell(found, before, after)

    def generate() -> None:
        options = {"do_sample": False, "logits_processor": processors, "stopping_criteria": [told]}
        try:
            with watched:
                replies_to(session.safe_base, session.tokenizer, [list(conversation)], max_new_tokens, options)
            found.put(None)
        except BaseException as error:  # Raised again by whoever reads.
            found.put(error)

    thread = Thread(target=generate, daemon=True)
    thread.start()
    try:
        yield from _steps(found, session.tokenizer, _ends_of(session.safe_base))
    finally:
        told.stop.set()
        thread.join()


class _Record(LogitsProcessor):
    """Keeps the log-probabilities as they are at its place."""

    def __init__(self) -> None:
        self.log_probs = torch.empty(0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, untouched."""
        self.log_probs = scores[0].float().log_softmax(-1)
        return scores


class _Tell(StoppingCriteria):
    """Hands each token on with both distributions, and ends the generation when asked to."""

    def __init__(self, found: Queue, before: _Record, after: _Record) -> None:
        self.stop = Event()
        self._found, self._before, self._after = found, before, after

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Called by generate after each token. (transformers fixes this signature.)"""
        self._found.put((int(input_ids[0, -1]), self._before.log_probs, self._after.log_probs))
        return torch.tensor([self.stop.is_set()], device=input_ids.device)


def _steps(found: Queue, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> Iterator[Step]:
    ids: list[int] = []
    said, pending = "", list[Step]()
    while (got := found.get()) is not None:
        if isinstance(got, BaseException):
            raise got
        token, base, guided = got
        ids.append(token)
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        best = int(base.argmax())
        instead = None if best == token else (str(tokenizer.decode([best])), float(base[best].exp()))
        pending.append(Step("", float(base[token].exp()), float(guided[token].exp()), instead, token in ends))
        if not text.endswith("\ufffd"):
            yield _together(pending, text[len(said) :])
            said, pending = text, []
    if pending:  # The reply ended inside a character.
        yield _together(pending, text[len(said) :])


def _ends_of(model: Any) -> Collection[int]:
    """The tokens with which a model ends a reply."""
    eos = model.generation_config.eos_token_id
    return () if eos is None else (eos,) if isinstance(eos, int) else eos


def _together(steps: list[Step], text: str) -> Step:
    """A character that several tokens make is one step, changed where one of them is."""
    instead = next((step.instead for step in steps if step.instead is not None), None)
    probabilities = prod(step.base for step in steps), prod(step.guided for step in steps)
    return Step(text, *probabilities, instead, steps[-1].ends)
