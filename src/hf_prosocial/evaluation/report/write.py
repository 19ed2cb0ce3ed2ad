"""The last stage: metrics to a page, pictures, and results for model cards."""

from pathlib import Path

from hf_prosocial.records import Metrics

from .page import write_page
from .pictures import draw_all
from .results import write_results

REPORT = "report.html"
"""The page's name in an evaluation's folder."""
PICTURES, RESULTS = "pictures", "eval_results"


def write_report(metrics: Metrics, out: Path) -> None:
    """Write report.html, pictures and eval_results into a folder.

    Raises:
        ImportError: matplotlib or jinja2 is not installed (the extra `evaluate`).
    """
    write_results(metrics, out / RESULTS)
    pictures = draw_all(metrics, out / PICTURES)
    write_page(metrics, [out / PICTURES / name for name in pictures], out / REPORT)
