"""What an edit raises and what it may cost, on held-out data: the figures of a sweep."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import Completion, labelled, read_completions, read_prompts, read_questions
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import read_text
from hf_prosocial.models import choice_accuracy, completion_loss, greedy_replies, text_loss

from .refusal_words import has_refusal_words
from .sweep import Measure

logger = logging.getLogger(__name__)

HARMFUL_LOSS, BENIGN_LOSS, TEXT, QUESTIONS = "harmful replies", "benign replies", "text", "multiple choice"
REFUSALS = "refusals of safe prompts"
REPLY_TOKENS = 32
MAX_LENGTH = 1024


@dataclass(frozen=True)
class HeldOutData:
    """What is measured on: files, and how much of each.

    Attributes:
        harmful_rows, benign_rows: JSON lines of prompt and completion.
        text: a file of running text.
        questions: JSON lines of multiple-choice questions; None leaves this figure out.
        held_out: share of the prompts of both files of rows, by hash, that is measured on.
        text_tokens, question_count: no more than so many; None is all.
        safe_prompts: JSON lines of prompt and label; greedy replies to those labelled "safe" are looked at for the
            words of refusals (`has_refusal_words`). None leaves this figure out.
        prompt_count: no more than so many of them, spread over the file; None is all.
    """

    harmful_rows: Path
    benign_rows: Path
    text: Path
    questions: Path | None
    held_out: float
    text_tokens: int | None
    question_count: int | None
    safe_prompts: Path | None = None
    prompt_count: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        given = (self.harmful_rows, self.benign_rows, self.text, self.questions, self.safe_prompts)
        return tuple(file for file in given if file is not None)

    def measures(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Measure]:
        """Losses in nats per token, and the share of right answers, each of a model.

        Rows that cannot be used are named in the log.

        Raises:
            ValueError: no row that is held out, or a file of which no row can be used.
        """
        pad = tokenizer.eos_token_id

        def rows(path: Path) -> list[Completion]:
            completions = read_completions(path, tokenizer, MAX_LENGTH)
            _tell(path, completions.report())
            found = completions.held_out(self.held_out).rows
            if not found:
                raise ProsocialError(f"no row of {path} is held out; raise the share, found {self.held_out}")
            return found

        text = read_text(self.text)
        harmful, benign = rows(self.harmful_rows), rows(self.benign_rows)

        def of_text(model: nn.Module) -> float:
            return text_loss(model, tokenizer, text, tokens=self.text_tokens)

        measures: dict[str, Measure] = {
            HARMFUL_LOSS: partial(completion_loss, rows=harmful, pad_token_id=pad),
            BENIGN_LOSS: partial(completion_loss, rows=benign, pad_token_id=pad),
            TEXT: of_text,
        }
        if self.questions is not None:
            questions = read_questions(self.questions)
            _tell(self.questions, questions.report())
            asked = questions.rows[: self.question_count]
            measures[QUESTIONS] = partial(choice_accuracy, tokenizer=tokenizer, questions=asked, pad_token_id=pad)
        if self.safe_prompts is not None:
            prompts = labelled(read_prompts(self.safe_prompts), "safe", self.prompt_count)

            def of_prompts(model: nn.Module) -> float:
                replies = greedy_replies(model, tokenizer, prompts, REPLY_TOKENS, batch_tokens=6144)
                return sum(map(has_refusal_words, replies)) / len(replies)

            measures[REFUSALS] = of_prompts
        return measures


def _tell(path: Path, report: str) -> None:
    logger.info("%s: %s", path, report)
