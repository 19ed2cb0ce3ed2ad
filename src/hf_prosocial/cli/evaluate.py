"""`prosocial evaluate`: a configuration to a report."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hf_prosocial.evaluation.config import read_config
from hf_prosocial.evaluation.evaluate import REPORT, evaluate


def run_evaluate(config: Path, out: Path) -> None:
    """Evaluate, print the main figures, and say where the report is."""
    metrics = evaluate(read_config(config), out)
    console = Console()
    figures = metrics["figures"]
    table = Table("variant", "benchmark", "figure", "value")
    for name, one in figures.get("harm", {}).items():
        for variant, values in one.items():
            kind = "asr" if "asr" in values else "non_refusal"
            table.add_row(variant, name, kind.replace("_", " "), _said(values[kind]))
    for name, one in figures.get("over_refusal", {}).items():
        for variant, values in one.items():
            table.add_row(variant, name, "safe prompts refused in full", _said(values["safe"]["full_refusal"]))
    for name, one in figures.get("rewards", {}).items():
        for variant, values in one.items():
            table.add_row(variant, name, "mean inner product", _said(values["mip"]))
            table.add_row(variant, name, "hypervolume", _said(values["hypervolume"]))
    console.print(table)
    for one in metrics["signatures"]:
        console.print(f"[bold]{one['name']}[/bold]: {one['variant']} on {one['benchmark']}: {one['found']}")
    console.print(f"The report: {out / REPORT}")


def _said(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}] ({found['count']})"
