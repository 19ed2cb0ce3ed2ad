"""metrics.json: all figures of an evaluation."""

from dataclasses import dataclass, field
from typing import Any

from .interval import Interval
from .record import Number, Record

METRICS = "metrics.json"
"""The file that holds them."""

Figures = dict[str, Any]
"""Figures by name. One with an interval is a mapping of `mean`, `low`, `high` and `count`."""


@dataclass(frozen=True)
class DifferenceFigure:
    """A figure of one variant less that of another, on one benchmark; `p` is None where there is no test for it."""

    figure: str
    benchmark: str
    one: str
    other: str
    difference: Interval
    p: Number | None


@dataclass(frozen=True)
class SignatureFigure:
    """A failure that was found.

    Attributes:
        name: "over-refusal", "attribute collapse", "reward hacking" or "category-specific failure".
        variant: whose replies show it.
        benchmark: on which.
        found: what was measured.
        threshold: what it was measured against.
        rows: identities of prompts of the benchmark whose replies show it, no more than a few.
    """

    name: str
    variant: str
    benchmark: str
    found: str
    threshold: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class WinRate:
    """How often a variant's reply is judged better than the reference's, and how often both orders agreed."""

    benchmark: str
    variant: str
    rate: Interval
    agreement: Interval
    unjudged: int


@dataclass(frozen=True)
class Metrics(Record):
    """What an evaluation found.

    Attributes:
        base, reference: the base, and the variant that the others are compared with.
        objectives: what preferences weigh.
        variants: by name, what each variant's replies follow from.
        benchmarks, prompts, preferences: by name, the recipe's words and the file's hash, and how many of each.
        judges: who scored, in a line for each role.
        figures: by kind, benchmark and variant.
        differences: of every two variants.
        signatures: the failures.
        win_rates: against the reference; empty without such a judge.
        capability: by variant.
        overhead: by variant.
        replies: SHA-256 of every file of replies.
        versions: of Python and the packages.
    """

    base: str
    reference: str
    objectives: list[str]
    variants: dict[str, dict[str, Any]]
    benchmarks: dict[str, dict[str, Any]]
    prompts: dict[str, int]
    preferences: dict[str, int]
    judges: dict[str, str]
    figures: dict[str, dict[str, dict[str, Figures]]]
    differences: list[DifferenceFigure]
    signatures: list[SignatureFigure]
    win_rates: list[WinRate]
    capability: dict[str, Figures] = field(default_factory=dict)
    overhead: dict[str, Figures] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
