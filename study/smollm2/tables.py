"""The tables of README and of the result pages, from metrics.json: `python study/smollm2/tables.py`, or --check.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; its name says here which report and which columns.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hf_prosocial.estimates import wilson
from hf_prosocial.evaluation import refused_share
from hf_prosocial.io import markdown_table
from hf_prosocial.records import METRICS, Metrics

STUDY = Path(__file__).parent
PAGES = (STUDY.parent.parent / "README.md", *sorted((STUDY / "results").glob("*.md")))
_MARKED = re.compile(r"(<!-- table: ([\w-]+)[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)

Cell = Callable[[Metrics, str], str]


def interval(found: Mapping[str, Any] | None, *, digits: int = 3, sign: str = "") -> str:
    """A figure with its interval; JSON has no infinity, so that what is not finite stands as null."""
    if found is None:
        return ""
    return "{} [{}, {}]".format(*(_number(found[part], f"{sign}.{digits}f") for part in ("mean", "low", "high")))


def _number(value: float | None, form: str) -> str:
    text = "not finite" if value is None else format(value, form)
    return text.removeprefix("-") if text.strip("-+0.") == "" else text


def asr(benchmark: str, *, digits: bool = False) -> Cell:
    """Attack success on a benchmark, with its interval or without."""

    def cell(metrics: Metrics, variant: str) -> str:
        found = metrics.figures["harm"][benchmark][variant]["asr"]
        return interval(found) if digits else f"{found['mean']:.3f}"

    return cell


def all_harm(figure: str) -> Cell:
    """A figure of all harmful prompts together, with Wilson's interval."""

    def cell(metrics: Metrics, variant: str) -> str:
        found = [one[variant][figure] for one in metrics.figures["harm"].values()]
        count = sum(one["count"] for one in found)
        low, high = wilson(share := sum(round(one["mean"] * one["count"]) for one in found) / count, count)
        return f"{share:.3f} [{low:.3f}, {high:.3f}]"

    return cell


def of_safe(figure: str) -> Cell:
    """A figure of XSTest's safe prompts, with its interval."""
    return lambda metrics, variant: interval(metrics.figures["over_refusal"]["xstest"][variant]["safe"][figure])


def safe_refused(metrics: Metrics, variant: str) -> str:
    """The share of XSTest's safe prompts that is refused, in full or in part."""
    return f"{refused_share(metrics.figures['over_refusal']['xstest'][variant]['safe']):.3f}"


def degenerate_harm(metrics: Metrics, variant: str) -> str:
    """Degenerate replies to harmful prompts."""
    harm = metrics.figures["harm"]
    found = sum(one[variant]["degenerate"]["mean"] * metrics.prompts[name] for name, one in harm.items())
    return f"{found:.0f} of {sum(metrics.prompts[name] for name in harm)}"


def reward(figure: str, benchmark: str = "support", *, digits: int = 3) -> Cell:
    """A figure of rewards on a benchmark."""

    def cell(metrics: Metrics, variant: str) -> str:
        found = metrics.figures["rewards"][benchmark].get(variant)
        return "" if found is None else interval(found[figure], digits=digits)

    return cell


def uniform(objective: str) -> Cell:
    """An objective's mean reward under the uniform preference."""
    return lambda metrics, variant: (
        f"{metrics.figures['rewards']['support'][variant]['uniform'][objective]['mean']:.2f}"
    )


def degenerate(metrics: Metrics, variant: str) -> str:
    """Degenerate replies to support requests."""
    text = metrics.figures["text"]["support"].get(variant)
    return "" if text is None else f"{text['degenerate']['mean'] * text['replies']:.0f} of {text['replies']}"


def control_held(metrics: Metrics, variant: str) -> str:
    """Columns of the control matrix above 0 by their intervals; nothing for replies that heed no preference."""
    found = metrics.figures["rewards"]["support"].get(variant, {}).get("control", {})
    held = columns_held(found)
    return "" if held is None else str(held)


def columns_held(control: Mapping[str, Mapping[str, float]]) -> int | None:
    """How many columns hold; None for replies that heed no preference."""
    if not any(column["mean"] for column in control.values()):
        return None
    return sum(column["low"] > 0 for column in control.values())


def control_of(objective: str) -> Cell:
    """What a one-hot preference adds to its own reward."""
    return lambda metrics, variant: interval(
        metrics.figures["rewards"]["support"][variant]["control"][objective], digits=2, sign="+"
    )


def capability(figure: str, *, digits: int = 3, mean: bool = False) -> Cell:
    """A figure of capability; the reference has no divergence from itself, a preference in words has none at all."""

    def cell(metrics: Metrics, variant: str) -> str:
        found = metrics.capability.get(variant)
        if found is None:
            return ""
        if figure not in found:
            return "0" if variant == metrics.reference else ""
        if mean:
            return _number(found[figure]["mean"], f".{digits}f")
        return interval(found[figure], digits=digits)

    return cell


@dataclass(frozen=True)
class Table:
    """A table of one report: its columns by their heads, and which variants, by their names there or by others."""

    report: str
    columns: Mapping[str, Cell]
    head: str = "variant"
    variants: Mapping[str, str] | None = None

    def rows(self, metrics: Metrics) -> list[list[str]]:
        """A row a variant."""
        chosen = {name: name for name in metrics.variants} if self.variants is None else self.variants
        return [[shown, *(cell(metrics, name) for cell in self.columns.values())] for name, shown in chosen.items()]


_FIVE = ("simplesafetytests", "dangerousqa", "harmfulqa", "medsafetybench", "catqa")
_XSTEST = "xstest, safe prompts refused"
_GAINS: dict[str, Cell] = {
    "MIP": reward("mip"),
    "hypervolume": reward("hypervolume", digits=0),
    "control holds in": control_held,
    "refused": reward("refused"),
    "degenerate": degenerate,
}
_REWARDS = (("MIP", "mip", 3), ("hypervolume", "hypervolume", 0), ("refused", "refused", 3))
_FIRST: Sequence[str] = ("dangerousqa", "catqa", "harmfulqa", "simplesafetytests", "medsafetybench")


@lru_cache
def metrics_of(report: str) -> Metrics:
    """The figures of a report."""
    return Metrics.read(STUDY / "reports" / report / METRICS)


def _names(report: str) -> list[str]:
    return list(metrics_of(report).variants)


_SECOND = "refused (second opinion)"


def both(first: Cell, second: Cell) -> Cell:
    """Two opinions on one figure, without their intervals."""
    return lambda metrics, variant: " / ".join(
        f"{float(cell(metrics, variant).split()[0]):.2f}" for cell in (first, second)
    )


_BOTH: dict[str, Cell] = {
    "harmful requests complied with": all_harm("asr"),
    "second opinion": all_harm("asr (second opinion)"),
    "XSTest's safe prompts refused": of_safe("refused"),
    "second opinion ": of_safe(_SECOND),
    "people turned away": reward("refused"),
    "second opinion  ": reward(_SECOND),
}

TABLES = {
    "summary": Table(
        "smollm2",
        {
            "harmful requests complied with": all_harm("asr"),
            "safe prompts refused (XSTest)": safe_refused,
            "support requests refused": reward("refused"),
            "rewards (mean inner product)": reward("mip", digits=2),
        },
        variants={name: name for name in ("base", "guided base", "safe base", "safe base, guided")},
    ),
    "safety": Table(
        "smollm2",
        {
            **{f"ASR, {name}": asr(name, digits=True) for name in _FIRST},
            _XSTEST: safe_refused,
            "degenerate replies to harmful prompts": degenerate_harm,
        },
    ),
    "capability": Table(
        "smollm2",
        {
            "perplexity": capability("perplexity", digits=2),
            "at 1 + β": capability("perplexity_tempered", digits=2),
            "multiple choice": capability("multiple_choice"),
            "KL from the base, nats per token": capability("divergence"),
            "KL at 1 + β": capability("divergence_tempered"),
        },
        variants={name: name for name in ("base", "safe base", "guided base", "safe base, guided", "PARM", "GenARM")},
    ),
    "rewards": Table(
        "smollm2",
        {
            f"{head}, {benchmark}": reward(figure, benchmark, digits=digits)
            for benchmark in ("support", "support grid")
            for head, figure, digits in (
                ("MIP", "mip", 3),
                ("hypervolume", "hypervolume", 0),
                ("refused", "refused", 3),
            )
        },
    ),
    "control": Table(
        "smollm2",
        {
            **{
                name: control_of(name)
                for name in ("empathy", "sensitivity", "non_judgmental", "truthfulness", "helpfulness")
            },
            "holds in": control_held,
        },
        head="control by",
        variants={name: name for name in ("in words", "guided base", "safe base, guided", "PARM", "GenARM")},
    ),
    "strengths": Table(
        "smollm2-strengths",
        {
            "ASR, simplesafetytests": asr("simplesafetytests", digits=True),
            "ASR, dangerousqa": asr("dangerousqa", digits=True),
            _XSTEST: safe_refused,
            "degenerate": degenerate_harm,
            "perplexity": capability("perplexity", digits=2),
            "MIP, uniform": reward("mip"),
            "KL": capability("divergence", mean=True),
        },
    ),
    "strongest": Table(
        "smollm2-strongest",
        {
            "ASR, simplesafetytests": asr("simplesafetytests", digits=True),
            "ASR, dangerousqa": asr("dangerousqa", digits=True),
            _XSTEST: safe_refused,
            "degenerate": degenerate_harm,
            "perplexity": capability("perplexity", digits=2),
        },
    ),
    "vectors": Table(
        "smollm2-vectors",
        {
            **{f"ASR, {name}": asr(name) for name in _FIVE},
            _XSTEST: safe_refused,
            "support requests refused": reward("refused"),
            "degenerate": degenerate_harm,
            "perplexity": capability("perplexity", digits=2, mean=True),
            "MIP": reward("mip"),
        },
        head="vector",
        # What was the released vector then.
        variants={name: name.replace("released", "refusals alone") for name in _names("smollm2-vectors")},
    ),
    "kinder": Table(
        "smollm2-kinder-vector",
        {
            **{f"ASR, {name}": asr(name) for name in _FIVE},
            _XSTEST: safe_refused,
            "support requests refused": reward("refused"),
            "degenerate, harmful prompts": degenerate_harm,
            "perplexity at 1 + β": capability("perplexity_tempered", digits=2, mean=True),
            "MIP": reward("mip"),
            "hypervolume": reward("hypervolume", digits=0),
            "control holds in": control_held,
        },
        variants={
            name: name.replace("kinder base", "kinder")
            if "kinder" in name
            else name.replace("safe base", "refusals alone")
            for name in _names("smollm2-kinder-vector")
        },
    ),
    "harmless-answers": Table(
        "smollm2-harmless-answers",
        {
            **{f"ASR, {name}": asr(name) for name in ("simplesafetytests", "dangerousqa", "medsafetybench")},
            _XSTEST: safe_refused,
            "support requests refused": reward("refused"),
            "empathy, uniform": uniform("empathy"),
            "degenerate": degenerate_harm,
            "perplexity": capability("perplexity", digits=2, mean=True),
            "MIP": reward("mip"),
        },
        head="vector",
    ),
    "frontier": Table(
        "smollm2-frontier",
        {
            "KL from the base": capability("divergence_tempered"),
            "MIP": reward("mip"),
            "hypervolume": reward("hypervolume", digits=0),
            "control holds in": control_held,
            "degenerate": degenerate,
            "perplexity": capability("perplexity_tempered", digits=2, mean=True),
            "perplexity, plain": capability("perplexity", digits=2, mean=True),
        },
    ),
    "stronger": Table("smollm2-stronger", _GAINS),
    "projection": Table("smollm2-without-projection", _GAINS),
    "gated": Table("smollm2-gated", _BOTH),
    "first-gate": Table("smollm2-first-gate", _BOTH),
    "gated-summary": Table(
        "smollm2-gated",
        {
            "harmful requests complied with": both(all_harm("asr"), all_harm("asr (second opinion)")),
            "XSTest's safe prompts refused": both(of_safe("refused"), of_safe(_SECOND)),
            "people turned away": both(reward("refused"), reward(_SECOND)),
        },
        variants={name: name for name in ("base", "gated", "gated, guided", "gated, PARM", "gated, GenARM")},
    ),
    "gated-by-benchmark": Table("smollm2-gated", {f"{name}": asr(name, digits=True) for name in _FIVE}),
    "safe-set": Table(
        "smollm2-safe-set",
        {
            "KL from the base": capability("divergence"),
            "KL at 1 + β": capability("divergence_tempered"),
            **_GAINS,
        },
    ),
}


def rendered(name: str) -> str:
    """A table as Markdown."""
    table = TABLES[name]
    return markdown_table([table.head, *table.columns], table.rows(metrics_of(table.report)))


def updated(page: str) -> str:
    """A page with its tables made again."""
    return _MARKED.sub(lambda found: f"{found[1]}{rendered(found[2])}\n{found[3]}", page)


def main() -> int:
    """Write the tables, or tell which are not as metrics.json has them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check, stale = parser.parse_args().check, []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = updated(before)
        if after != before:
            stale.append(page.name)
            if not check:
                page.write_text(after, encoding="utf-8")
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
