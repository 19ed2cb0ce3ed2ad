"""What a model is worth: measured on held-out text."""

from .likelihood import choice_accuracy, completion_loss, text_loss
from .questions import Question, Questions, read_questions

__all__ = ["Question", "Questions", "choice_accuracy", "completion_loss", "read_questions", "text_loss"]
