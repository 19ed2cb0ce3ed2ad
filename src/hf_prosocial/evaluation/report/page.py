"""report.html: one page that a browser opens offline."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hf_prosocial.io import write_text
from hf_prosocial.records import Interval, Metrics, known, not_told


def write_page(metrics: Metrics, pictures: Sequence[Path], file: Path) -> None:
    """Write the report of an evaluation.

    Args:
        metrics: what was found.
        pictures: PNG files, put into the page itself.
        file: the page.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"estimate": _estimate, "difference": _difference, "title": _title}
    source = files("hf_prosocial.evaluation.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    shown = [(path.stem, base64.b64encode(path.read_bytes()).decode()) for path in pictures]
    write_text(file, environment.from_string(source).render(metrics=metrics, pictures=shown))


def _estimate(found: Any) -> str:
    """A figure with its interval; one without, as it is."""
    if isinstance(found, Mapping):
        if not known(found["mean"]):
            return not_told(found["count"])
        found = Interval(**found)
    if isinstance(found, Interval):
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return f"{found:.3f}" if isinstance(found, float) else str(found)


def _difference(found: Interval) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _title(text: str) -> str:
    return text.replace("_", " ").replace("-", " ")
