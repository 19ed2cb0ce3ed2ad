"""The third stage: what judges say of the replies, kept beside the replies that it was said of."""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from hf_prosocial.data import Prompt
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import kept, listed, sha256
from hf_prosocial.judges import JudgeConfig, JudgeContext, Role, check_rewards, checked_labels, checked_rewards

from .answers import UNJUDGED, Answers
from .figures.kinds import known_figures
from .plan import Benchmark
from .replies import reply_file

SCORES = "scores"
SECOND = "second_"
"""Begins the name of the second judge of a role."""
_WORDS: dict[Role, str] = {"rewards": "reward", "harm": "harm label", "refusal": "refusal label"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judges:
    """Who scores the replies, each opened when it is first needed.

    Args:
        configs: by role; the second judges of harm and of refusals as "second_harm" and "second_refusal".
        context: what they may need of the evaluation.
    """

    configs: Mapping[str, JudgeConfig]
    context: JudgeContext

    def asked(self, roles: Iterable[Role]) -> list[tuple[str, Role]]:
        """Every judge that is asked for some roles, the second ones after the first."""
        firsts: list[tuple[str, Role]] = [(role, role) for role in dict.fromkeys(roles)]
        seconds: list[tuple[str, Role]] = [(SECOND + role, role) for _, role in firsts if SECOND + role in self.configs]
        return firsts + seconds

    def check(self, roles: Iterable[Role]) -> None:
        """Refuse what a judge cannot tell of its role, before anything is loaded.

        Raises:
            ProsocialError, OSError: as `JudgeConfig.check`.
        """
        for name, role in self.asked(roles):
            self.configs[name].check(role, self.context)

    def say(self, name: str, role: Role, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[Any]:
        """A label for each reply (None where there is none), or its rewards in the order of the objectives.

        Raises:
            ValueError: a scorer without one of the objectives.
        """
        with self._named(name):
            opened: Any = self.context.once(name, lambda: self.configs[name].open(role, self.context))
            if role != "rewards":
                return checked_labels(role, list(opened(prompts, replies)), len(replies))
            check_rewards(self.configs[name], opened.names, self.context.objectives)
            found = checked_rewards(opened(prompts, replies), len(replies), len(opened.names))
            return found[:, [opened.names.index(name) for name in self.context.objectives]].tolist()

    @contextmanager
    def _named(self, name: str) -> Generator[None]:
        """Say which judge it was: a judge of one's own may raise anything, or give anything back."""
        try:
            yield
        except (ProsocialError, OSError, ImportError):
            raise
        except Exception as error:
            raise ProsocialError(
                f"the judge of {_plain(name)} ({self.configs[name].kind}) failed: {type(error).__name__}: {error}"
            ) from error

    def answers_of(self, name: str) -> list[Path]:
        """Where an endpoint's answers are kept, if it is one."""
        file = self.context.folder / f"{name}.jsonl"
        return [file] if file.is_file() else []

    def identity(self, name: str) -> dict[str, Any]:
        """What a judge's scores follow from beside the replies, known without loading a model."""
        found = self.configs[name].identity()
        return found | {"objectives": list(self.context.objectives)} if name == "rewards" else found

    def described(self) -> dict[str, str]:
        """Who scores, in a line for each judge."""
        roles: dict[str, Role] = dict(self.asked(("rewards", "harm", "refusal")))
        return {name: self.configs[name].described(role) for name, role in roles.items()}

    def not_measurable(self) -> dict[str, str]:
        """The objectives whose rewards are no figures, as `JudgeConfig.not_measurable`."""
        return self.configs["rewards"].not_measurable(self.context.objectives)

    def harm_validated(self) -> bool:
        """Whether the judge of harm was compared with people's labels."""
        return self.configs["harm"].validation("harm") is not None


def label_replies(
    benchmarks: Mapping[str, Benchmark], answers: Mapping[str, Sequence[Answers]], judges: Judges, out: Path
) -> dict[str, list[Answers]]:
    """The answers with rewards and labels, as each benchmark's figures need them; a warning tells of those without."""
    figures = known_figures()
    return {
        name: [_labelled(one, figures[benchmarks[name].config.measures].asks, judges, out) for one in of_benchmark]
        for name, of_benchmark in answers.items()
    }


def _labelled(answers: Answers, roles: Sequence[Role], judges: Judges, out: Path) -> Answers:
    replies = sha256(reply_file(out, answers.variant, answers.benchmark))
    for name, role in judges.asked(roles):
        path = out / SCORES / name / answers.variant / f"{answers.benchmark}.json"
        ask: Callable[[], list[Any]] = partial(judges.say, name, role, answers.each_prompt(), answers.replies)
        said = kept(path, {"scorer": judges.identity(name), "replies": replies}, ask)
        files = [path, *judges.answers_of(name)]
        try:
            answers, without = _with_what_was_said(answers, name, role, said, len(judges.context.objectives))
        except ProsocialError as error:
            raise ProsocialError(f"{path} was changed or damaged ({error}); delete it, to ask again") from error
        _tell_of(answers, role, without, files)
    return answers


def _with_what_was_said(
    answers: Answers, name: str, role: Role, said: Any, k: int
) -> tuple[Answers, Int[np.ndarray, " some"]]:
    """The answers with a role's labels or rewards, and the places of those that have none."""
    if role == "rewards":
        # What Python's JSON keeps as NaN is NaN.
        scores = checked_rewards(said, len(answers.replies), k)
        return answers.with_rewards(scores), np.flatnonzero(~np.isfinite(scores).all(axis=1))
    labels = answers.labelled(checked_labels(role, said, len(answers.replies)))
    answers = replace(answers, **{name: labels})  # A judge's name is that of the field.
    return answers, np.flatnonzero([label == UNJUDGED for label in labels])


def _tell_of(answers: Answers, role: Role, rows: Int[np.ndarray, " some"], files: Sequence[Path]) -> None:
    """Warn of the replies that a judge said nothing of, if there are any."""
    if len(rows):
        prompts = answers.each_prompt()
        logger.warning(
            "%d of %s's %d replies to %s have no %s, and are left out of what is told of it; they answer prompts %s. "
            "To ask again, delete %s",
            *(len(rows), answers.variant, len(prompts), answers.benchmark, _WORDS[role]),
            *(listed(list(dict.fromkeys(prompts[row].identity for row in rows))), " and ".join(map(str, files))),
        )


def _plain(name: str) -> str:
    """How a judge is called in a sentence."""
    return f"{name.removeprefix(SECOND)}, the second one," if name.startswith(SECOND) else name
