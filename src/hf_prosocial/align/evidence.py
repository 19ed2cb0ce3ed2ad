"""The last two stages: a short evaluation, and cards."""

import re
import shutil
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation import EvaluationConfig, evaluate
from hf_prosocial.hub import hub_id_of, licence_of, render
from hf_prosocial.io import validated
from hf_prosocial.preference import OBJECTIVES

from .stages import Work

BASE, SAFE, GATED, GUIDED, BOTH = "base", "safe base", "gated", "guided", "gated, guided"


def make_evaluation(work: Work) -> str:
    """Compare the base with what was made of it, on prompts that nothing was trained on."""
    config = evaluation_config(work)
    left_out = "" if _rewards_judged(work) else "; no judge of the package's scores these objectives (judges: rewards)"
    if config is None:
        return f"nothing to evaluate: the data hold no prompts that are held out{left_out}"
    evaluate(config, work.path("report"))
    return f"{', '.join(config.variants)} on {', '.join(config.benchmarks)}{left_out}"


def evaluation_config(work: Work) -> EvaluationConfig | None:
    """What is evaluated; None where there are no prompts for it."""
    variants: dict[str, dict[str, Any]] = {BASE: {}}
    if (work.out / "harm-vector").is_dir():
        variants[SAFE] = {"vector": work.path("harm-vector")}
    if (work.out / "gated-harm-vector").is_dir():
        variants[GATED] = {"vector": work.path("gated-harm-vector")}
    variants[GUIDED] = {"arm": work.path("arm"), "beta": 1.0, "arm_base": work.recipe.guide_base}
    if GATED in variants:
        variants[BOTH] = variants[GATED] | variants[GUIDED]
    benchmarks = {}
    for file, measures in work.data.benchmarks().items():
        if measures == "rewards" and not _rewards_judged(work):
            continue
        name = file.rpartition("/")[2].removesuffix(".jsonl")
        name = f"{name} (people in need)" if measures == "rewards" else name
        wanted = work.effort.prompts_of(measures)
        count = wanted if wanted and wanted < work.data.count(file) else None
        benchmarks[name] = {"file": file, "measures": measures, "count": count}
    if not benchmarks:
        return None
    content: dict[str, Any] = {"base": work.recipe.base, "reference": BASE, "variants": variants}
    content |= {"benchmarks": benchmarks, "max_new_tokens": work.effort.new_tokens, "seed": work.recipe.seed}
    content["dtype"] = "float32" if work.machine.device == "processor" else work.machine.dtype
    if work.data.text is not None:
        content["capability"] = {"text": work.data.text, "text_tokens": work.effort.text_tokens}
    return validated(EvaluationConfig, content | work.recipe.judges, "the evaluation")


def _rewards_judged(work: Work) -> bool:
    """Whether a judge scores the objectives: the package's own do so for the package's objectives alone."""
    return "rewards" in work.recipe.judges or work.data.objectives == list(OBJECTIVES)


def make_cards(work: Work) -> str:
    """Render the card of each thing that was made, as a push would."""
    shutil.rmtree(work.out / "cards", ignore_errors=True)  # Of a run that was killed.
    base = hub_id_of(work.recipe.base)
    made = {"safe-base": SAFE, "harm-vector": SAFE, "gated-harm-vector": GATED, "arm": GUIDED}
    written = []
    for name, variant in made.items():
        if not (work.out / name).is_dir():
            continue
        figures = work.out / "report" / "eval_results" / f"{variant}.json"
        render(
            work.path(name),
            work.path(f"cards/{name}"),
            f"YOUR-NAME/{name}",
            base_model=base or placeholder_of(work.recipe.base),
            licence=_licence(base),
            evaluation=figures if figures.is_file() else None,
        )
        written.append(name)
    return f"cards of {', '.join(written)}, as they would be pushed"


def placeholder_of(base: str) -> str:
    """An id to fill in, for a base that has none."""
    return f"YOUR-NAME/{re.sub(r'[^A-Za-z0-9_.-]+', '-', Path(base).resolve().name).strip('-.') or 'base'}"


def _licence(base: str | None) -> str:
    """The base's, where its card is at hand; "unknown", which the Hub knows, elsewhere."""
    if base is None:
        return "unknown"
    try:
        return licence_of(base)
    except ProsocialError:
        return "unknown"
