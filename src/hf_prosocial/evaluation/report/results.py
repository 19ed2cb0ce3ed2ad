"""An evaluation's figures as the Hub's evaluation results, for a model card."""

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.figures.second_opinion import SECOND_OPINION
from hf_prosocial.io import write_json
from hf_prosocial.judges import FULL_REFUSAL, PARTIAL_REFUSAL
from hf_prosocial.records import Metrics, known, not_told

Row = tuple[str, str, str, str]
_REWARDS = {
    "mip": "mean inner product of preference and rewards",
    "hypervolume": "hypervolume over the preferences",
}


def write_results(metrics: Metrics, folder: Path) -> None:
    """A file for each variant: its figures as the Hub's model-index, and the reference variant's beside them.

    Args:
        metrics: what was found.
        folder: made where it is missing; a file is called after its variant.
    """
    folder.mkdir(exist_ok=True)
    reference = metrics.reference
    beside = eval_results_to_model_index(reference, eval_results(metrics, reference))
    for variant in metrics.variants:
        index = eval_results_to_model_index(variant, eval_results(metrics, variant))
        content = {"model-index": index} | ({} if variant == reference else {"reference": beside})
        write_json(folder / f"{variant}.json", content)


def eval_results(metrics: Metrics, variant: str) -> list[EvalResult]:
    """A variant's main figures.

    Args:
        metrics: what was found.
        variant: its name there.

    Raises:
        ValueError: no such variant.
    """
    if variant not in metrics.variants:
        raise ProsocialError(f"no variant {variant!r} was evaluated; there are {list(metrics.variants)}")
    found: list[tuple[str, str, str, float]] = []
    figures = metrics.figures
    for name, one in _answered(figures, "harm", variant):
        kind, said = ("asr", "attack success rate") if "asr" in one[variant] else ("non_refusal", "share not refused")
        found.append((name, kind, said, one[variant][kind]["mean"]))
    for name, one in _answered(figures, "over_refusal", variant):
        refused = refused_share(one[variant]["safe"])
        found.append((name, "refusal_rate", "safe prompts refused in full or in part", refused))
    for name, one in _answered(figures, "rewards", variant):
        for kind, said in _REWARDS.items():
            if not isinstance(one[variant][kind], str):  # What the judge cannot tell is a sentence.
                found.append((name, kind, said, one[variant][kind]["mean"]))
        found.append((name, "refusal_rate", "replies that refuse in full or in part", one[variant]["refused"]["mean"]))
    for kind, value in metrics.capability.get(variant, {}).items():
        found.append(("capability", kind, kind.replace("_", " "), value["mean"]))
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_config=f"{dataset}, {kind}",  # Results of one configuration would be taken for one result.
            metric_type=kind,
            metric_name=said,
            metric_value=round(value, 4) + 0.0,  # No −0.0 in a card.
        )
        for dataset, kind, said, value in found
        if not isnan(value)
    ]


def refused_share(kinds: Mapping[str, Any]) -> float:
    """The share of prompts refused in full or in part, from the shares of each kind of reply to them."""
    return sum(kinds[kind]["mean"] for kind in (FULL_REFUSAL, PARTIAL_REFUSAL))


def _answered(figures: Mapping[str, Any], kind: str, variant: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The benchmarks of a kind that a variant answered."""
    return [(name, one) for name, one in figures.get(kind, {}).items() if variant in one]


def main_figures(metrics: Metrics) -> list[Row]:
    """The figures that a reader looks at first: variant, benchmark, what it is, and its value or why there is none.

    Where a second judge was asked, its word stands under the first one's.
    """
    found: list[Row] = []
    for name, variants in metrics.figures.get("harm", {}).items():
        for variant, one in variants.items():
            kind = "asr" if "asr" in one else "non_refusal"
            found += _with_second(variant, name, kind.replace("_", " "), kind, one)
    for name, variants in metrics.figures.get("over_refusal", {}).items():
        for variant, one in variants.items():
            found += _with_second(variant, name, "safe prompts refused", "refused", one["safe"])
    for name, variants in metrics.figures.get("rewards", {}).items():
        for variant, one in variants.items():
            found += [
                (variant, name, "mean inner product", _value(one["mip"])),
                (variant, name, "hypervolume", _value(one["hypervolume"])),
            ]
            found += _with_second(variant, name, "refused, in part or in full", "refused", one)
    return found


def _with_second(variant: str, benchmark: str, said: str, key: str, figures: Mapping[str, Any]) -> list[Row]:
    second = key + SECOND_OPINION
    found = [(variant, benchmark, said, _value(figures[key]))]
    if second in figures:
        found.append((variant, benchmark, said + SECOND_OPINION, _value(figures[second])))
    return found


def _value(found: Mapping[str, Any] | str) -> str:
    if isinstance(found, str):
        return found
    if not known(found["mean"]):
        return not_told(found["count"])
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}] ({found['count']})"
