"""`prosocial direg sweep`: which density and which λ, measured on one loaded model."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_prosocial.bases import preferred_device
from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.choice import CHOICE
from hf_prosocial.direg.sweep import Limit, Point, choose, draw_fronts, sweep
from hf_prosocial.evaluation.held_out import BENIGN, HARMFUL, REFUSALS, TEXT, HeldOutData
from hf_prosocial.files import sha256, write_json


def run_sweep(
    base: str,
    harmful: str,
    benign: str | None,
    out: Path,
    *,
    contrasts: list[float],
    protect: Path | None,
    protected: float,
    compact: bool,
    kinds: list[str] | None,
    densities: list[float],
    scales: list[float],
    data: HeldOutData,
    text_limit: float,
    benign_limit: float,
    refusal_limit: float,
) -> None:
    """Extract the vectors, measure them, draw the fronts and record the choice in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    vectors = {}
    for kind in _kinds(benign, contrasts, protect, kinds):
        for density in densities:
            file = out / f"{kind.name}-{density:g}.safetensors"
            vectors[file.stem] = _vector(base, harmful, kind, protected, compact, density, file)
    tokenizer: Any = AutoTokenizer.from_pretrained(base, padding_side="left")
    measures = data.measures(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval().to(preferred_device())
    points = sweep(model, vectors, scales, measures, out / "points.jsonl")
    limits = [Limit(TEXT, text_limit), Limit(BENIGN, benign_limit)]
    if data.safe_prompts is not None:
        limits.append(Limit(REFUSALS, refusal_limit))
    chosen, reason = choose(points, HARMFUL, limits)
    for cost in (limit.figure for limit in limits):
        draw_fronts(points, HARMFUL, cost, chosen, out / f"front-{cost.replace(' ', '-')}.png")
    record = {
        "chosen": asdict(chosen),
        "base": asdict(points[0]),
        "reason": reason,
        "data": {file.name: sha256(file) for file in data.files},
        "held_out": data.held_out,
        "text_tokens": data.text_tokens,
        "question_count": data.question_count,
        "prompt_count": data.prompt_count,
    }
    write_json(out / CHOICE, record)
    Console().print(_table(points))
    print(reason)


@dataclass(frozen=True)
class _Kind:
    """A kind of vector: its name, the benign copy and how much of it, and the gradient that protects a text."""

    name: str
    benign: str | None
    contrast: float
    protect: Path | None


def _kinds(benign: str | None, contrasts: list[float], protect: Path | None, wanted: list[str] | None) -> list[_Kind]:
    """The plain kind and the contrasts; and, where there is a gradient, these protected."""
    kinds = [_Kind("plain", None, 1.0, None)]
    if benign is not None:
        kinds += [_Kind("contrast" if c == 1 else f"contrast{c:g}", benign, c, None) for c in contrasts]
    if protect is not None:
        protected = kinds[1:] or kinds
        kinds += [_Kind(f"{kind.name}-protected", kind.benign, kind.contrast, protect) for kind in protected]
    names = [kind.name for kind in kinds]
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise ValueError(f"no kind {', '.join(sorted(unknown))} of vector can be made; there are {', '.join(names)}")
    return [kind for kind in kinds if wanted is None or kind.name in wanted]


def _vector(
    base: str, harmful: str, kind: _Kind, protected: float, compact: bool, density: float, file: Path
) -> HarmVector:
    if not file.exists():
        return HarmVector.extract(
            base,
            harmful,
            density,
            benign=kind.benign,
            contrast=kind.contrast,
            protect=kind.protect,
            protected=protected,
            compact=compact,
            out=file,
        )
    vector = HarmVector(file)
    record = vector.record
    protection = (record.protection.file, record.protection.share) if record.protection else None
    made_of = (record.base, record.harmful, record.benign, protection, record.compact)
    asked = (base, harmful, kind.benign, (str(kind.protect), protected) if kind.protect else None, compact)
    if made_of != asked:
        raise ValueError(f"{file} is of {made_of}, not of {asked}; choose another folder")
    return vector


def _table(points: list[Point]) -> Table:
    table = Table("vector", "λ", *points[0].figures)
    for point in points:
        table.add_row(point.vector, f"{point.scale:g}", *(f"{value:.4f}" for value in point.figures.values()))
    return table
