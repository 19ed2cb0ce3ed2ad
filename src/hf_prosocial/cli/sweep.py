"""`prosocial direg sweep`: which density and which λ, measured on one loaded model."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.choice import CHOICE
from hf_prosocial.direg.sweep import Limit, Point, choose, draw_fronts, sweep
from hf_prosocial.evaluation.held_out import BENIGN, HARMFUL, TEXT, HeldOutData
from hf_prosocial.files import sha256, write_json


def run_sweep(
    base: str,
    harmful: str,
    benign: str | None,
    out: Path,
    *,
    protect: Path | None,
    protected: float,
    kinds: list[str] | None,
    densities: list[float],
    scales: list[float],
    data: HeldOutData,
    text_limit: float,
    benign_limit: float,
) -> None:
    """Extract the vectors, measure them, draw the fronts and record the choice in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    vectors = {}
    for name, reference, gradient in _kinds(benign, protect, kinds):
        for density in densities:
            file = out / f"{name}-{density:g}.safetensors"
            vectors[file.stem] = _vector(base, harmful, reference, gradient, protected, density, file)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    measures = data.measures(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    points = sweep(model, vectors, scales, measures, out / "points.jsonl")
    chosen, reason = choose(points, HARMFUL, [Limit(TEXT, text_limit), Limit(BENIGN, benign_limit)])
    for cost in (TEXT, BENIGN):
        draw_fronts(points, HARMFUL, cost, chosen, out / f"front-{cost.replace(' ', '-')}.png")
    record = {
        "chosen": asdict(chosen),
        "base": asdict(points[0]),
        "reason": reason,
        "data": {file.name: sha256(file) for file in data.files},
        "held_out": data.held_out,
        "text_tokens": data.text_tokens,
        "question_count": data.question_count,
    }
    write_json(out / CHOICE, record)
    Console().print(_table(points))
    print(reason)


def _kinds(
    benign: str | None, protect: Path | None, wanted: list[str] | None
) -> list[tuple[str, str | None, Path | None]]:
    """Kinds of vectors by name, each with its benign copy and its gradient: the plain one first."""
    kinds: list[tuple[str, str | None, Path | None]] = [("plain", None, None)]
    if benign is not None:
        kinds.append(("contrast", benign, None))
    if protect is not None:
        kinds.append((f"{kinds[-1][0]}-protected", benign, protect))
    names = [name for name, _, _ in kinds]
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise ValueError(f"no kind {', '.join(sorted(unknown))} of vector can be made; there are {', '.join(names)}")
    return [kind for kind in kinds if wanted is None or kind[0] in wanted]


def _vector(
    base: str, harmful: str, benign: str | None, protect: Path | None, protected: float, density: float, file: Path
) -> HarmVector:
    if not file.exists():
        return HarmVector.extract(base, harmful, density, benign=benign, protect=protect, protected=protected, out=file)
    vector = HarmVector(file)
    record = vector.record
    share = record.protection.share if record.protection else None
    made_of = (record.base, record.harmful, record.benign, share)
    asked = (base, harmful, benign, protected if protect else None)
    if made_of != asked:
        raise ValueError(f"{file} is of {made_of}, not of {asked}; choose another folder")
    return vector


def _table(points: list[Point]) -> Table:
    table = Table("vector", "λ", *points[0].figures)
    for point in points:
        table.add_row(point.vector, f"{point.scale:g}", *(f"{value:.4f}" for value in point.figures.values()))
    return table
