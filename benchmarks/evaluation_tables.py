"""The report's main tables as Markdown, for the README and docs/measured."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import markdown_table
from hf_prosocial.evaluation.report.results import refused_share

Metrics = Mapping[str, Any]


def main_tables(metrics: Metrics) -> str:
    """What each variant does on harmful and safe prompts, and what its replies to people in need are worth."""
    return "\n\n".join([_safety(metrics), _rewards(metrics), _control(metrics), _capability(metrics)])


def _safety(metrics: Metrics) -> str:
    harm, refusals = metrics["figures"]["harm"], metrics["figures"]["over_refusal"]
    heads = ["variant", *(f"ASR, {name}" for name in harm), *(f"{name}, safe prompts refused" for name in refusals)]
    rows = []
    for variant in metrics["variants"]:
        cells = [_interval(one[variant]["asr"]) for one in harm.values()]
        cells += [f"{refused_share(one[variant]['safe']):.3f}" for one in refusals.values()]
        degenerate = sum(one[variant]["degenerate"]["mean"] * metrics["prompts"][name] for name, one in harm.items())
        rows.append([variant, *cells, f"{degenerate:.0f} of {sum(metrics['prompts'][name] for name in harm)}"])
    return markdown_table([*heads, "degenerate replies to harmful prompts"], rows)


def _rewards(metrics: Metrics) -> str:
    rewards = metrics["figures"]["rewards"]
    heads = ["variant", *(f"{kind}, {name}" for name in rewards for kind in ("MIP", "hypervolume", "refused"))]
    rows = []
    for variant in metrics["variants"]:
        figures = [one[variant] for one in rewards.values()]
        rows.append([variant, *(cell for one in figures for cell in (*_gains(one), _interval(one["refused"])))])
    return markdown_table(heads, rows)


def _control(metrics: Metrics) -> str:
    with_control = (
        one for one in metrics["figures"]["rewards"].values() if any("control" in of for of in one.values())
    )
    rows = []
    for variant, one in next(with_control, {}).items():
        columns = one.get("control", {})
        held = columns_held(columns)
        if held is None:
            continue
        rows.append([variant, *(_interval(column, sign="+", digits=2) for column in columns.values()), str(held)])
    return markdown_table(["control by", *metrics["objectives"], "holds in"], rows)


def _capability(metrics: Metrics) -> str:
    heads = ["variant", "perplexity", "at 1 + β", "multiple choice", "KL from the base, nats per token", "at 1 + β"]
    rows = []
    for variant, one in metrics["capability"].items():
        perplexities = [_interval(one[kind], digits=2) for kind in ("perplexity", "perplexity_tempered")]
        kls = [_interval(one[kind]) if kind in one else "0" for kind in ("divergence", "divergence_tempered")]
        rows.append([variant, *perplexities, _interval(one["multiple_choice"]), *kls])
    return markdown_table(heads, rows)


def gains_table(metrics: Metrics, benchmark: str) -> str:
    """What each variant's replies are worth, and how far it moves its base; at temperature 1 + β but for "plain"."""
    heads = [
        "variant",
        "KL from the base",
        "MIP",
        "hypervolume",
        "control holds in",
        "refused",
        "degenerate",
        "perplexity",
        "perplexity, plain",
    ]
    rows = []
    for variant in metrics["variants"]:
        costs = metrics["capability"].get(variant, {})  # None of a preference in words.
        rewards = metrics["figures"]["rewards"][benchmark].get(variant)
        cells = [_interval(costs["divergence_tempered"]) if "divergence_tempered" in costs else ""]
        if rewards is None:
            cells += [""] * 5
        else:
            text = metrics["figures"]["text"][benchmark][variant]
            held = columns_held(rewards["control"])
            degenerate = f"{text['degenerate']['mean'] * text['replies']:.0f} of {text['replies']}"
            cells += [*_gains(rewards), "" if held is None else str(held), _interval(rewards["refused"]), degenerate]
        for kind in ("perplexity_tempered", "perplexity"):
            cells.append(_number(costs[kind]["mean"], ".2f") if costs else "")
        rows.append([variant, *cells])
    return markdown_table(heads, rows)


def columns_held(control: Mapping[str, Mapping[str, float]]) -> int | None:
    """Columns of the control matrix above 0 by their intervals; None of replies that heed no preference."""
    if not any(column["mean"] for column in control.values()):
        return None
    return sum(column["low"] > 0 for column in control.values())


def _gains(rewards: Mapping[str, Any]) -> list[str]:
    return [_interval(rewards["mip"]), _interval(rewards["hypervolume"], digits=0)]


def _interval(found: Mapping[str, float | None], *, digits: int = 3, sign: str = "") -> str:
    mean, low, high = (_number(found[part], f"{sign}.{digits}f") for part in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _number(value: float | None, form: str) -> str:
    """JSON has no infinity: a perplexity under a safe set, which bars tokens of the text, stands as null."""
    return "not finite" if value is None else format(value, form)
