"""What PV-ARM's training is worth: ours, ours without projection, PARM and GenARM on the same base, pairs and steps.

Each method is trained by its recipe, through the command line, once a seed; what has its record in
records/quality is not trained again. Hours on two cores: PROSOCIAL_SEEDS=0 measures one seed,
PROSOCIAL_METHODS=ours,GenARM some of the methods. The figures are the margins on dev that the command records.
"""

import os
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

from benchmarks.goals import Goal, report
from benchmarks.quality_runs import METHODS, trained
from hf_prosocial import OBJECTIVES
from hf_prosocial.io import markdown_table

LARGE = 200  # pairs on dev from which an objective's own lower bound is a goal


def run() -> bool:
    wanted = os.environ.get("PROSOCIAL_METHODS", ",".join(method.name for method in METHODS)).split(",")
    seeds = [int(seed) for seed in os.environ.get("PROSOCIAL_SEEDS", "0,1,2").split(",")]
    if unknown := set(wanted) - {method.name for method in METHODS}:
        raise ValueError(f"PROSOCIAL_METHODS names {sorted(unknown)}; the methods are {[one.name for one in METHODS]}")
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for method in METHODS:
            if method.name in wanted:
                found.setdefault(method.name, []).append(trained(method, seed))
    print(table(found))
    for name, runs in found.items():
        print(f"\n{name}, control matrix, mean of {len(runs)} seeds (row one-hot p, column pairs; nats per token)")
        for row, objective in enumerate(OBJECTIVES):
            cells = (
                mean(run["dev"]["control_matrix"][row][column] for run in runs) for column in range(len(OBJECTIVES))
            )
            print(f"| {objective} | " + " | ".join(f"{cell:+.4f}" for cell in cells) + " |")
    print(cosines(found.get("ours", [])))
    return report("quality", goals(found))


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Accuracies per token under the own one-hot and the uniform preference: mean and standard deviation over seeds."""
    heads = ["method", "seeds", "parameters", "forwards", *OBJECTIVES, "mean", "worst", "control holds in"]
    rows = []
    for name, runs in found.items():
        for preference in ("own", "uniform"):
            values = [accuracies(run, preference) for run in runs]
            cells = [mean_and_spread([one[index] for one in values]) for index in range(len(OBJECTIVES))]
            cells += [mean_and_spread([pick(one) for one in values]) for pick in (mean, min)]
            held = " ".join(str(len(controlled(run))) for run in runs) if preference == "own" else ""
            first = [f"{name}, {preference} p", str(len(runs)), f"{runs[0]['parameters']:,}", str(runs[0]["forwards"])]
            rows.append([*first, *cells, held])
    return markdown_table(heads, rows)


def accuracies(record: dict[str, Any], preference: str = "own") -> list[float]:
    """Margin accuracy per token of each objective."""
    return [record["dev"]["objectives"][name][preference]["mean"] for name in OBJECTIVES]


def controlled(record: dict[str, Any]) -> list[str]:
    """Objectives whose column is under control by its 95 % interval."""
    return [name for name in OBJECTIVES if record["dev"]["objectives"][name]["control"]["low"] > 0]


def mean_and_spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def cosines(runs: list[dict[str, Any]]) -> str:
    """The objectives' gradients over our trainings: mean cosine of each pair, and how often they conflict."""
    seen = [run["conflicts"] for run in runs]
    if not seen:
        return ""
    text = ["\ncosines of the objectives' gradients, mean over training (share of log lines below 0)"]
    for pair in seen[0]["cosines"]:
        cosine, below = (mean(one[name][pair] for one in seen) for name in ("cosines", "below_0"))
        text.append(f"| {pair} | {cosine:+.3f} | {below:.2f} |")
    text.append(f"share of pairs in conflict {mean(one['conflicts'] for one in seen):.3f}")
    text.append(f"relative change of the update {mean(one['update_change'] for one in seen):.3f}")
    return "\n".join(text)


def goals(found: dict[str, list[dict[str, Any]]]) -> list[Goal]:
    """The goals on our method, and against the baselines where they were trained."""
    ours = found.get("ours", [])
    if not ours:
        return []
    held = [Goal("mean accuracy per token", mean(mean(accuracies(run)) for run in ours), ">= 0.70")]
    for name in OBJECTIVES:
        own = [run["dev"]["objectives"][name] for run in ours]
        if own[0]["pairs"] >= LARGE:
            held.append(Goal(f"{name}, lower bound", mean(one["own"]["low"] for one in own), ">= 0.60"))
    held.append(Goal("columns under control, least of the seeds", min(len(controlled(run)) for run in ours), ">= 5"))
    if "PARM" in found:
        held += [
            Goal("mean accuracy over PARM's and the spread", ahead(ours, found["PARM"], mean, spread=True), ">= 0"),
            Goal("worst accuracy over PARM's and the spread", ahead(ours, found["PARM"], min, spread=True), ">= 0"),
        ]
    if "GenARM" in found:
        held += [
            Goal("mean accuracy over GenARM's", ahead(ours, found["GenARM"], mean, spread=False), ">= 0"),
            Goal("worst accuracy over GenARM's", ahead(ours, found["GenARM"], min, spread=False), ">= 0"),
        ]
    return held


def ahead(
    ours: list[dict[str, Any]], other: list[dict[str, Any]], pick: Callable[[list[float]], float], *, spread: bool
) -> float:
    """How far our mean over seeds is above another's; less both standard deviations, with `spread`."""
    first, second = ([pick(accuracies(run)) for run in runs] for runs in (ours, other))
    deviations = stdev(first) + stdev(second) if spread and min(len(first), len(second)) > 1 else 0.0
    return mean(first) - mean(second) - deviations
