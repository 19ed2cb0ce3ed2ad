"""A variant's replies to a benchmark, with what scorers and judges say of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from hf_prosocial.data import Prompt
from hf_prosocial.errors import ProsocialError
from hf_prosocial.judges import FULL_REFUSAL, PARTIAL_REFUSAL
from hf_prosocial.preference import Preference

from .generation import heeded, reply_key
from .repliers import Replier
from .reply_store import ReplyStore
from .text_statistics import is_degenerate

DEGENERATE, UNJUDGED = "degenerate", "unjudged"
_REFUSING = (PARTIAL_REFUSAL, FULL_REFUSAL)


@dataclass(frozen=True)
class Answers:
    """Replies of one variant to one benchmark, prompt by prompt and preference by preference.

    Attributes:
        variant, benchmark: their names.
        prompts: N of them.
        preferences: P that each prompt was answered under; one that stands for all where none is heeded.
        replies: N × P texts, a prompt's together.
        rewards: what a scorer gave, (N, P, k), NaN where it gave none; or None.
        harm, refusal: a judge's label of each reply, likewise N × P, or None. Degenerate replies are `DEGENERATE`, but
            for those that refuse, and those that the judge gave no label `UNJUDGED`.
        second_harm, second_refusal: a second judge's; None where there is none.
    """

    variant: str
    benchmark: str
    prompts: tuple[Prompt, ...]
    preferences: tuple[Preference, ...]
    replies: tuple[str, ...]
    rewards: Float[np.ndarray, "prompts preferences k"] | None = None
    harm: tuple[str, ...] | None = None
    refusal: tuple[str, ...] | None = None
    second_harm: tuple[str, ...] | None = None
    second_refusal: tuple[str, ...] | None = None

    def each_prompt(self) -> list[Prompt]:
        """The prompt of each reply."""
        return [prompt for prompt in self.prompts for _ in self.preferences]

    def per_prompt(self, values: Float[np.ndarray, " replies"]) -> Float[np.ndarray, " prompts"]:
        """Each prompt's mean over its replies that have a value; NaN where none has.

        Args:
            values: of each reply, to all prompts or to some; NaN where there is none.
        """
        rows = values.reshape(-1, len(self.preferences))
        counts = np.isfinite(rows).sum(1)
        return np.where(counts > 0, np.nansum(rows, axis=1) / np.maximum(counts, 1), np.nan)

    def under(self, preference: Preference) -> list[str]:
        """Each prompt's reply under a preference, or its only reply where none is heeded."""
        column = self.preferences.index(preference) if preference in self.preferences else 0
        return list(self.replies[column :: len(self.preferences)])

    def with_rewards(self, scores: Float[np.ndarray, "replies k"]) -> "Answers":
        """These answers with rewards."""
        return replace(self, rewards=scores.reshape(len(self.prompts), len(self.preferences), -1))

    def to_prompts(self, rows: Int[np.ndarray, " some"]) -> "Answers":
        """These answers to some of the prompts alone, by their places."""
        preferences = len(self.preferences)
        of_replies = [row * preferences + column for row in rows for column in range(preferences)]
        chosen = {
            name: None if values is None else tuple(values[row] for row in of_replies)
            for name, values in self._labels().items()
        }
        return replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            replies=tuple(self.replies[row] for row in of_replies),
            rewards=None if self.rewards is None else self.rewards[rows],
            **chosen,
        )

    def by_second_opinion(self) -> "Answers":
        """These answers with the second judges' labels in the first ones' place, where there are any."""
        return replace(self, harm=self.second_harm or self.harm, refusal=self.second_refusal or self.refusal)

    def _labels(self) -> dict[str, tuple[str, ...] | None]:
        return {
            "harm": self.harm,
            "refusal": self.refusal,
            "second_harm": self.second_harm,
            "second_refusal": self.second_refusal,
        }

    def labelled(self, labels: Sequence[str | None]) -> tuple[str, ...]:
        """A judge's labels, degenerate replies and those without a label marked as such.

        A reply that refuses stays a refusal, however often it says so.
        """
        return tuple(
            DEGENERATE if is_degenerate(reply) and label not in _REFUSING else label or UNJUDGED
            for reply, label in zip(self.replies, labels, strict=True)
        )

    def degenerate(self) -> Float[np.ndarray, "prompts preferences"]:
        """1 where a reply is degenerate, else 0."""
        found = np.array([is_degenerate(reply) for reply in self.replies], dtype=np.float64)
        return found.reshape(len(self.prompts), len(self.preferences))


def answers_of(
    variant: str,
    store: ReplyStore,
    replier: Replier,
    prompts: Sequence[Prompt],
    preferences: Sequence[Preference],
) -> Answers:
    """What a filled store holds.

    Raises:
        ValueError: a reply that is missing.
    """
    asked = heeded(replier, preferences)
    keys = [reply_key(replier, prompt, preference) for prompt in prompts for preference in asked]
    missing = [key for key in keys if key not in store.replies]
    if missing:
        raise ProsocialError(f"{store.path} lacks {len(missing)} replies, the first to {missing[0]}")
    replies = tuple(store.replies[key] for key in keys)
    return Answers(variant, prompts[0].benchmark, tuple(prompts), tuple(asked), replies)


def check_same_prompts(answers: Sequence[Answers]) -> None:
    """Refuse to compare variants that answered different prompts.

    Raises:
        ValueError: which ones.
    """
    asked = {one.variant: Counter(prompt.conversation for prompt in one.prompts) for one in answers}
    first, *others = asked
    different = [name for name in others if asked[name] != asked[first]]
    if different:
        raise ProsocialError(f"{first} and {different} answered different prompts of {answers[0].benchmark}")
