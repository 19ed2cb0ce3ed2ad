"""An evaluation as a page and pictures for people, and as results for model cards."""

from .page import write_page
from .pictures import draw_all
from .results import write_results

__all__ = ["draw_all", "write_page", "write_results"]
