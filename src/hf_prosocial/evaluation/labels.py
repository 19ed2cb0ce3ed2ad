"""The third stage: what judges say of the replies, kept beside the replies that it was said of."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from hf_prosocial.data import Prompt
from hf_prosocial.io import kept, listed, sha256
from hf_prosocial.judges import JudgeConfig, JudgeContext, Role, check_rewards

from .answers import UNJUDGED, Answers
from .figures.kinds import known_figures
from .plan import Benchmark
from .replies import reply_file

SCORES = "scores"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judges:
    """Who scores the replies, each opened when it is first needed.

    Args:
        configs: by role.
        context: what they may need of the evaluation.
    """

    configs: Mapping[Role, JudgeConfig]
    context: JudgeContext

    def check(self, roles: Iterable[Role]) -> None:
        """Refuse what a judge cannot tell of its role, before anything is loaded.

        Raises:
            ProsocialError, OSError: as `JudgeConfig.check`.
        """
        for role in roles:
            self.configs[role].check(role, self.context)

    def say(self, role: Role, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[Any]:
        """A label for each reply (None where there is none), or its rewards in the order of the objectives.

        Raises:
            ValueError: a scorer without one of the objectives.
        """
        opened: Any = self.context.once(role, lambda: self.configs[role].open(role, self.context))
        if role != "rewards":
            return opened(prompts, replies)
        check_rewards(self.configs[role], opened.names, self.context.objectives)
        columns = [opened.names.index(name) for name in self.context.objectives]
        return opened(prompts, replies)[:, columns].tolist()

    def identity(self, role: Role) -> dict[str, Any]:
        """What a judge's scores follow from beside the replies, known without loading a model."""
        found = self.configs[role].identity()
        return found | {"objectives": list(self.context.objectives)} if role == "rewards" else found

    def described(self) -> dict[str, str]:
        """Who scores, in a line for each role."""
        return {role: config.described(role) for role, config in self.configs.items()}

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
    for role in roles:
        path = out / SCORES / role / answers.variant / f"{answers.benchmark}.json"
        ask: Callable[[], list[Any]] = partial(judges.say, role, answers.each_prompt(), answers.replies)
        said = kept(path, {"scorer": judges.identity(role), "replies": replies}, ask)
        if role == "rewards":
            # What Python's JSON keeps as NaN is NaN.
            scores = np.array(said, dtype=np.float64)
            answers = answers.with_rewards(scores)
            _tell_of(answers, role, np.flatnonzero(~np.isfinite(scores).all(axis=1)), path)
        else:
            labels = answers.labelled(said)
            answers = replace(answers, harm=labels) if role == "harm" else replace(answers, refusal=labels)
            _tell_of(answers, role, np.flatnonzero([label == UNJUDGED for label in labels]), path)
    return answers


def _tell_of(answers: Answers, role: Role, rows: Int[np.ndarray, " some"], path: Path) -> None:
    """Warn of the replies that a judge said nothing of, if there are any."""
    if len(rows):
        prompts = answers.each_prompt()
        logger.warning(
            "no %s for %d of %d replies of %s to %s: they are in no figure of it. They answer the prompts %s. What the "
            "judge said is kept in %s; delete that file to ask again",
            *(role, len(rows), len(prompts), answers.variant, answers.benchmark),
            *(listed(list(dict.fromkeys(prompts[row].identity for row in rows))), path),
        )
