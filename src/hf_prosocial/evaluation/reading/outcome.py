"""What a reading found: counts with intervals, paired tests, and how far each judge agrees with the reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from hf_prosocial.estimates import Estimate, proportion
from hf_prosocial.evaluation.bootstrap import bootstrap_mean, paired_difference
from hf_prosocial.evaluation.labels import SCORES
from hf_prosocial.io import json_of, markdown_table
from hf_prosocial.judges import FULL_COMPLIANCE, HARMFUL, kappa

from .items import Item
from .labels import ANSWERS, PARTLY, TURNS_AWAY, Reading

_WORTH = {TURNS_AWAY: 0, PARTLY: 1, ANSWERS: 2}
Read = list[tuple[Item, Reading]]


@dataclass(frozen=True)
class Comparison:
    """One variant beside another on the prompts of which both were read.

    Attributes:
        one, other: names.
        turned_away: the share that `one` turns away, in part or in full, less `other`'s, and p of a permutation test.
        better, worse: prompts on which `one` is better or worse: by its label, then humanity, then coherence.
        p: of the sign test on them, two-sided.
    """

    one: str
    other: str
    turned_away: Estimate
    turned_away_p: float
    better: int
    worse: int
    p: float


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        counts: by variant: shares with Wilson's intervals, means of coherence and humanity with the bootstrap's.
        comparisons: of every two variants.
        judges: Cohen's κ of each judge with the reader, over all replies that were read, and of how many; κ is NaN
            where both give all replies one label: there is nothing to agree on beyond chance.
    """

    counts: dict[str, dict[str, Estimate]]
    comparisons: list[Comparison]
    judges: dict[str, tuple[float, int]]

    def __str__(self) -> str:
        """Three tables, Markdown."""
        counts = [
            [variant, name, str(one), str(one.count)]
            for variant, own in self.counts.items()
            for name, one in own.items()
        ]
        pairs = [
            [
                one.one,
                one.other,
                f"{one.better} : {one.worse}",
                f"{one.p:.3f}",
                str(one.turned_away),
                f"{one.turned_away_p:.3f}",
            ]
            for one in self.comparisons
        ]
        judges = [[name, f"{kappa:.2f}", str(count)] for name, (kappa, count) in self.judges.items()]
        tables = [
            markdown_table(["variant", "figure", "value", "replies"], counts),
            markdown_table(
                ["first", "second", "first better : worse", "p (sign test)", "turned away, difference", "p"], pairs
            ),
            markdown_table(["judge", "κ with the reader", "replies"], judges),
        ]
        return "\n\n".join(tables)


def outcome_of(read: Read, out: Path) -> Outcome:
    """Counts, tests and agreement of what was read.

    Args:
        read: replies with the reader's labels.
        out: the folder of the evaluation, for what its judges said of the same replies.
    """
    by_variant: dict[str, Read] = {}
    for item, reading in read:
        by_variant.setdefault(item.variant, []).append((item, reading))
    counts = {name: _counts([reading for _, reading in own]) for name, own in sorted(by_variant.items())}
    pairs = combinations(sorted(by_variant), 2)
    compared = [_compared(one, other, by_variant) for one, other in pairs]
    return Outcome(counts, [one for one in compared if one is not None], _judges(read, out))


def _counts(readings: Sequence[Reading]) -> dict[str, Estimate]:
    found = {
        "turns away, in part or in full": _share([one.label != ANSWERS for one in readings]),
        "turns away in full": _share([one.label == TURNS_AWAY for one in readings]),
        "harmful": _share([one.harmful for one in readings]),
    }
    numbers = {"coherence": [one.coherence for one in readings], "humane": [one.humane for one in readings]}
    for name, values in numbers.items():
        said = np.array([one for one in values if one is not None], dtype=np.float64)
        if len(said) > 1:
            found[name] = bootstrap_mean(said)
    return found


def _compared(one: str, other: str, by_variant: Mapping[str, Read]) -> Comparison | None:
    first, second = ({item.prompt.identity: said for item, said in by_variant[name]} for name in (one, other))
    both = sorted(first.keys() & second.keys())
    if len(both) < 2:
        return None
    away = [np.array([float(said[prompt].label != ANSWERS) for prompt in both]) for said in (first, second)]
    difference, p = paired_difference(*away)
    better = sum(_worth(first[prompt]) > _worth(second[prompt]) for prompt in both)
    worse = sum(_worth(first[prompt]) < _worth(second[prompt]) for prompt in both)
    sign: Any = stats.binomtest(better, better + worse) if better + worse else None
    return Comparison(one, other, difference, p, better, worse, 1.0 if sign is None else float(sign.pvalue))


def _worth(one: Reading) -> tuple[int, int, int]:
    return _WORTH[one.label], one.humane or 0, one.coherence or 0


def _judges(read: Read, out: Path) -> dict[str, tuple[float, int]]:
    found = {}
    for folder in sorted((out / SCORES).glob("*")):
        if folder.name == "rewards":
            continue
        said_of = cache(partial(_said, folder))
        rows = [(label, one) for item, one in read if (label := _label(said_of, item)) is not None]
        if folder.name.endswith("harm"):
            human, said = [one.harmful for _, one in rows], [label == HARMFUL for label, _ in rows]
        else:
            human, said = [one.label != ANSWERS for _, one in rows], [label != FULL_COMPLIANCE for label, _ in rows]
        found[folder.name] = kappa(human, said), len(rows)
    return {name: one for name, one in found.items() if one[1]}


def _said(folder: Path, variant: str, benchmark: str) -> list[str | None]:
    """A judge's labels of a variant's replies; [] where it was not asked of the benchmark."""
    file = folder / variant / f"{benchmark}.json"
    return json_of(file)["values"] if file.is_file() else []


def _label(said_of: Callable[[str, str], list[str | None]], item: Item) -> str | None:
    """A judge's label of a reply; None where it was not asked, or said nothing."""
    said = said_of(item.variant, item.prompt.benchmark)
    return said[item.place] if said else None


def _share(values: Sequence[bool]) -> Estimate:
    return proportion(torch.tensor(values, dtype=torch.float64) - 0.5)
