"""What a model is worth: measured on held-out text."""

from .likelihood import Question, choice_accuracy, completion_loss, read_questions, text_loss

__all__ = ["Question", "choice_accuracy", "completion_loss", "read_questions", "text_loss"]
