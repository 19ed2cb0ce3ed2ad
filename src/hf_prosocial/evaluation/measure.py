"""The fourth stage: all figures of the labelled answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .answers import Answers
from .figures.differences import VariantDifference
from .figures.kinds import known_figures
from .figures.registry import Figures, Given
from .figures.signature import Signature
from .figures.text import text_figures
from .plan import Benchmark


@dataclass
class AllMeasured:
    """What an evaluation found.

    Attributes:
        figures: by kind ("harm", "over_refusal", "rewards", "text", ...), benchmark and variant.
        differences: of every two variants.
        signatures: the failures.
    """

    figures: dict[str, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    differences: list[VariantDifference] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)


def measure(
    benchmarks: Mapping[str, Benchmark],
    answers: Mapping[str, Sequence[Answers]],
    objectives: Sequence[str],
    *,
    harm_validated: bool,
    not_measurable: Mapping[str, str],
) -> AllMeasured:
    """Figures of every benchmark, differences of variants, and failure signatures.

    Args:
        benchmarks: by name.
        answers: by benchmark, labelled; the reference's come first.
        objectives: of the preferences and of the rewards.
        harm_validated: whether the harm judge names the labels that it was validated on; else nothing is called ASR.
        not_measurable: objectives whose rewards the judge cannot tell, and how good it is at them.
    """
    found, kinds = AllMeasured(), known_figures()
    for name, of_benchmark in answers.items():
        benchmark = benchmarks[name]
        for one in of_benchmark:
            found.figures.setdefault("text", {}).setdefault(name, {})[one.variant] = text_figures(one)
        kind = benchmark.config.measures
        given = Given(name, of_benchmark, benchmark.preferences, objectives, harm_validated, not_measurable)
        measured = kinds[kind].measure(given)
        found.figures.setdefault(kind, {})[name] = measured.figures
        found.differences += measured.differences
        found.signatures += measured.signatures
    return found
