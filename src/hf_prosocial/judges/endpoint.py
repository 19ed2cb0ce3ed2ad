"""A model behind an OpenAI-compatible HTTP endpoint: asked once for each question, within a price."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError
from pydantic import Field, TypeAdapter

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import append_json_lines, mend_lines, progress_bar, whole_lines_of, write_text


@dataclass(frozen=True)
class EndpointOptions:
    """Which endpoint is asked, how patiently, and at what price.

    Attributes:
        model: the name that the endpoint knows it by.
        url: the endpoint's, up to and with /v1; by default OpenAI's.
        key_variable: the environment variable that holds the key.
        seconds: how long an answer may take.
        retries: after errors of the server and time-outs.
        parallel: requests at a time.
        input_price, output_price: in dollars per million tokens.
        price_cap: in dollars; asking stops before it is passed. Needed where there is a price.
        request: fields of each request, as the endpoint has them, e.g. {max_completion_tokens: 2000} for a model that
            reasons first; null leaves out one of those that are sent otherwise, temperature: 0 and max_tokens.
    """

    model: str
    url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    seconds: Annotated[float, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 5
    parallel: Annotated[int, Field(ge=1)] = 4
    input_price: Annotated[float, Field(ge=0)] = 0.0
    output_price: Annotated[float, Field(ge=0)] = 0.0
    price_cap: Annotated[float, Field(gt=0)] | None = None
    request: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ours = sorted(_OURS & set(self.request))
        if ours:
            raise ProsocialError(
                f"request: {', '.join(ours)} cannot be chosen, for one answer to each question is read"
            )
        try:
            json.dumps(self.request, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ProsocialError(f"request: {error}; its values must be what JSON has") from error
        limits = {name: self.request[name] for name in _LIMITS if name in self.request}
        for name, limit in limits.items():
            if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
                raise ProsocialError(f"request: {name} must be a whole number of tokens, found {limit!r}")
        if self.price_cap is not None and limits and not any(limits.values()):
            raise ProsocialError("request: with a price_cap an answer's length must be limited; give max_tokens")
        if self.price_cap is None and (self.input_price > 0 or self.output_price > 0):
            raise ProsocialError(f"{self.model} costs money; give a price_cap in dollars")
        if self.price_cap is not None and self.input_price == self.output_price == 0:
            raise ProsocialError("a price_cap without prices would cap nothing; give input_price and output_price")


_OURS = {"model", "messages", "stream", "n"}
_LIMITS = ("max_completion_tokens", "max_tokens")
_OF_ONE_QUESTION = (400, 413, 422)
"""Statuses that say something of one question; others tell of the server, the key or the address."""
_NONE_ANSWERED = 20
"""So many refused questions without an answer, and the request itself must be wrong."""

logger = logging.getLogger(__name__)

ANSWERS = "answers"
"""Where an evaluation keeps what endpoints answered."""

Messages = Sequence[Mapping[str, str]]


class EndpointError(ProsocialError, OSError):
    """An endpoint that cannot be reached, refuses, or answers with something that is no completion."""


class QuestionRefusedError(EndpointError):
    """The endpoint answers others, but not this question: it is too long, or its content is filtered."""


class PriceCapReachedError(ProsocialError, OSError):
    """The next answer could cost more than the cap allows; what was answered is kept."""


@dataclass(frozen=True)
class Answer:
    """What the model said, and the tokens that were counted for it."""

    text: str
    input_tokens: int
    output_tokens: int


class Endpoint:
    """Asks a model, keeps every answer on disk, and never asks the same question twice.

    Args:
        config: the endpoint.
        answers: JSON lines of what was answered, gone on with where it exists.
        max_tokens: of an answer; judges are asked for a word.

    Raises:
        ValueError: no key in the environment where the endpoint is OpenAI's own, or a file of answers by another model.
    """

    def __init__(self, config: EndpointOptions, answers: str | Path, *, max_tokens: int = 16) -> None:
        key = os.environ.get(config.key_variable)
        if key is None and config.url is None:
            raise ProsocialError(f"the environment variable {config.key_variable} holds no key for {config.model}")
        self.config, self.path, self._fields = config, Path(answers), _request_fields(config.request, max_tokens)
        self._most_tokens = next((int(self._fields[name]) for name in _LIMITS if name in self._fields), max_tokens)
        self._client = OpenAI(
            api_key=key or "none", base_url=config.url, timeout=config.seconds, max_retries=config.retries
        )
        self._lock = threading.Lock()
        self._known = self._read(max_tokens)
        self._refused: dict[str, str] = {}
        self._reserved = 0.0

    @property
    def spent(self) -> float:
        """Dollars, for all answers on disk."""
        return sum(self._price(answer.input_tokens, answer.output_tokens) for answer in self._known.values())

    def ask_all(self, questions: Sequence[Messages], description: str = "judging") -> list[str]:
        """The answer to each, several at a time; answers come to disk as they come.

        A question that the endpoint refuses, as one whose content it filters, has the answer "", and a warning tells of
        it. It is asked again by the next call.

        Raises:
            EndpointError: after the retries, or all questions were refused; the other answers are kept.
            PriceCapReachedError: likewise.
        """
        names = [self._name(question) for question in questions]
        missing = {name: one for name, one in zip(names, questions, strict=True) if name not in self._known}
        total = len(set(names))
        progress = progress_bar(total, description, "answer", done=total - len(missing))
        with progress, ThreadPoolExecutor(self.config.parallel) as pool:
            waiting: list[Future[None]] = []
            for name, question in missing.items():
                waiting.append(pool.submit(self._ask, name, question))
                waiting[-1].add_done_callback(lambda _: progress.update())
            failed = [one for one in wait(waiting, return_when=FIRST_EXCEPTION).done if one.exception()]
            if failed:
                pool.shutdown(cancel_futures=True)
                failed[0].result()
        refused = {name: self._refused.pop(name) for name in missing if name in self._refused}
        if refused:
            reason = next(iter(refused.values()))
            if not self._known:
                raise EndpointError(f"all {len(refused)} questions were refused: {reason}")
            logger.warning("%d of %d questions were refused and stay unanswered: %s", len(refused), total, reason)
        return [self._known[name].text if name in self._known else "" for name in names]

    def _ask(self, name: str, question: Messages) -> None:
        # A token is never shorter than a byte.
        most = self._price(sum(len(message["content"].encode()) + 16 for message in question), self._most_tokens)
        with self._lock:
            cap = self.config.price_cap
            if cap is not None and self.spent + self._reserved + most > cap:
                raise PriceCapReachedError(
                    f"{self.spent:.4f} dollars are spent, and the next answer may cost {most:.4f}: more than the cap "
                    f"of {cap:g}. {len(self._known)} answers are kept in {self.path}; raise price_cap to go on"
                )
            self._reserved += most
        try:
            answer = self._answer(question)
        except BaseException as error:
            with self._lock:
                self._reserved -= most
                if not isinstance(error, QuestionRefusedError):
                    raise
                self._refused[name] = str(error)
                if not self._known and len(self._refused) >= _NONE_ANSWERED:
                    raise EndpointError(f"the first {_NONE_ANSWERED} questions were all refused: {error}") from error
            return
        with self._lock:
            # At once with the answer's own price, or another thread would see neither and pass the cap.
            self._reserved -= most
            self._known[name] = answer
            append_json_lines(self.path, [{"question": name} | asdict(answer)])

    def _answer(self, question: Messages) -> Answer:
        messages: Any = [dict(message) for message in question]
        where = f"{self.config.model} at {self._client.base_url}"
        try:
            found = self._client.chat.completions.create(
                model=self.config.model, messages=messages, extra_body=self._fields
            )
        except (APITimeoutError, APIConnectionError) as error:
            raise EndpointError(f"{where} cannot be reached after {self.config.retries} retries: {error}") from error
        except APIStatusError as error:
            kind = QuestionRefusedError if error.status_code in _OF_ONE_QUESTION else EndpointError
            raise kind(f"{where} answered with status {error.status_code}: {error.message:.300}") from error
        except (OpenAIError, ValueError, RecursionError) as error:
            raise EndpointError(f"{where} answered with something that is no completion: {error!s:.300}") from error
        return self._checked(found, where)

    def _checked(self, found: Any, where: str) -> Answer:
        """A completion as an `Answer`; a server may send anything."""
        choices = getattr(found, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        text = getattr(getattr(choice, "message", None), "content", None)
        if text is None and isinstance(getattr(choice, "finish_reason", None), str):
            # Filtered, refused, or all tokens went into reasoning: a completion, in which nothing is said.
            text = ""
        if isinstance(text, str) and not text.isascii():
            text = text.encode(errors="replace").decode()  # Half of a character, which no file holds.
        if not isinstance(text, str):
            raise EndpointError(f"{where} answered with something that is no completion: {found!r:.300}")
        usage = getattr(found, "usage", None)
        counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if not all(isinstance(count, int) and 0 <= count < 10**9 for count in counts):
            if self.config.price_cap is not None:
                raise EndpointError(f"{where} does not say how many tokens it used; the price cap cannot be kept")
            counts = [0, 0]
        return Answer(text, *(int(count or 0) for count in counts))

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.config.input_price + output_tokens * self.config.output_price) / 1e6

    def _name(self, question: Messages) -> str:
        content = json.dumps([dict(message) for message in question], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _read(self, max_tokens: int) -> dict[str, Answer]:
        asked = {"model": self.config.model, "url": self.config.url, "max_tokens": max_tokens}
        header = json.dumps(asked | ({"request": self.config.request} if self.config.request else {}))
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, header + "\n")
            return {}
        first, *lines = whole_lines_of(self.path) or [""]
        if first != header:
            raise ProsocialError(
                f"{self.path} holds answers of another model or request: {first!r:.200}, not {header}; "
                "move it away, or choose another folder"
            )
        found = {}
        for number, line in enumerate(lines, start=2):
            try:
                row = json.loads(line)
                name = row.pop("question")
                found[name] = TypeAdapter(Answer).validate_python(row)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise ProsocialError(
                    f"{self.path}, line {number} is no answer ({type(error).__name__}); delete that line, or the "
                    "file to ask all again"
                ) from error
        mend_lines(self.path)
        return found


def _request_fields(request: Mapping[str, Any], max_tokens: int) -> dict[str, Any]:
    """What is sent beside model and messages: one limit of the answer's length, whichever the endpoint knows."""
    limit = {} if any(name in request for name in _LIMITS) else {"max_tokens": max_tokens}
    fields = {"temperature": 0.0} | limit | dict(request)
    return {name: value for name, value in fields.items() if value is not None}
