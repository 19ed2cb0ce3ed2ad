"""`prosocial direg sweep`: which density and which λ, measured on one loaded model."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.completions import Completion, read_completions
from hf_prosocial.direg.record import CHOICE
from hf_prosocial.direg.sweep import Limit, Measure, Point, choose, draw_fronts, sweep
from hf_prosocial.evaluation import choice_accuracy, completion_loss, read_questions, text_loss

from .recipes import sha256, write_json

HARMFUL, BENIGN, TEXT, QUESTIONS = "harmful replies", "benign replies", "text", "multiple choice"
MAX_LENGTH = 1024


@dataclass(frozen=True)
class SweepData:
    """What is measured on: files, and how much of each."""

    harmful_rows: Path
    benign_rows: Path
    text: Path
    questions: Path
    held_out: float
    text_tokens: int | None
    question_count: int | None

    def measures(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Measure]:
        """Losses in nats per token, and the share of right answers, each of a model."""
        pad = tokenizer.eos_token_id

        def rows(path: Path) -> list[Completion]:
            found = read_completions(path, tokenizer, MAX_LENGTH).held_out(self.held_out).rows
            if not found:
                raise ValueError(f"no row of {path} is held out; raise the share, found {self.held_out}")
            return found

        text = self.text.read_text(encoding="utf-8")
        questions = read_questions(self.questions)[: self.question_count]
        harmful, benign = rows(self.harmful_rows), rows(self.benign_rows)

        def of_text(model: nn.Module) -> float:
            return text_loss(model, tokenizer, text, tokens=self.text_tokens)

        def of_questions(model: nn.Module) -> float:
            return choice_accuracy(model, tokenizer, questions, pad_token_id=pad)

        return {
            HARMFUL: partial(completion_loss, rows=harmful, pad_token_id=pad),
            BENIGN: partial(completion_loss, rows=benign, pad_token_id=pad),
            TEXT: of_text,
            QUESTIONS: of_questions,
        }


def run_sweep(
    base: str,
    harmful: str,
    benign: str | None,
    out: Path,
    *,
    densities: list[float],
    scales: list[float],
    data: SweepData,
    text_limit: float,
    benign_limit: float,
) -> None:
    """Extract the vectors, measure them, draw the fronts and record the choice in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    vectors = _vectors(base, harmful, benign, densities, out)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    measures = data.measures(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    points = sweep(model, vectors, scales, measures, out / "points.jsonl")
    chosen, reason = choose(points, HARMFUL, [Limit(TEXT, text_limit), Limit(BENIGN, benign_limit)])
    for cost in (TEXT, BENIGN):
        draw_fronts(points, HARMFUL, cost, chosen, out / f"front-{cost.replace(' ', '-')}.png")
    files = (data.harmful_rows, data.benign_rows, data.text, data.questions)
    record = {
        "chosen": asdict(chosen),
        "base": asdict(points[0]),
        "reason": reason,
        "data": {file.name: sha256(file) for file in files},
        "held_out": data.held_out,
        "text_tokens": data.text_tokens,
        "question_count": data.question_count,
    }
    write_json(out / CHOICE, record)
    Console().print(_table(points))
    print(reason)


def chosen_scale(folder: Path) -> tuple[Path, float]:
    """The vector's file and λ that a sweep chose.

    Raises:
        ValueError: nothing was chosen there, or the base itself.
    """
    if not (folder / CHOICE).is_file():
        raise ValueError(f"{folder} holds no {CHOICE}; run `prosocial direg sweep` into it first")
    choice = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    chosen = Point(**choice["chosen"])
    if chosen.scale == 0:
        raise ValueError(f"the sweep in {folder} chose the base: {choice['reason']}")
    return folder / f"{chosen.vector}.safetensors", chosen.scale


def _vectors(base: str, harmful: str, benign: str | None, densities: list[float], out: Path) -> dict[str, HarmVector]:
    found = {}
    for kind, reference in (("plain", None), *([("contrast", benign)] if benign else [])):
        for density in densities:
            file = out / f"{kind}-{density:g}.safetensors"
            if file.exists():
                vector = HarmVector(file)
                made_of = (vector.record.base, vector.record.harmful, vector.record.benign)
                if made_of != (base, harmful, reference):
                    raise ValueError(
                        f"{file} is of {made_of}, not of {(base, harmful, reference)}; choose another folder"
                    )
            else:
                vector = HarmVector.extract(base, harmful, density, benign=reference, out=file)
            found[file.stem] = vector
    return found


def _table(points: list[Point]) -> Table:
    table = Table("vector", "λ", *points[0].figures)
    for point in points:
        table.add_row(point.vector, f"{point.scale:g}", *(f"{value:.4f}" for value in point.figures.values()))
    return table
