"""What an evaluation leaves for people and for the Hub: a page, pictures, and results for model cards."""

from .write import REPORT, write_report

__all__ = ["REPORT", "write_report"]
