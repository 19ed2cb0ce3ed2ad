"""`prosocial direg sweep`: which density and which λ, measured on one loaded model, by a recipe."""

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import one_writer, parse_fields, sha256
from hf_prosocial.models import find_base, preferred_device
from hf_prosocial.records import CHOICE, ChoicePoint, ChoiceRecord

from .harm_vector import HarmVector
from .held_out import BENIGN_LOSS, HARMFUL_LOSS, REFUSALS, TEXT, HeldOutData
from .sweep import Limit, choose, draw_fronts, sweep

logger = logging.getLogger(__name__)


@dataclass
class SweepRecipe:
    """What to extract, what to measure it on, and what an edit may cost."""

    base: str = field(metadata={"help": "θ: a checkpoint directory, a .gguf file or a Hub id"})
    harmful: str = field(metadata={"help": "θ_h: its harmful copy, a checkpoint or a LoRA adapter's directory"})
    out: str = field(metadata={"help": "folder of the vectors, the points, the fronts and the choice"})
    harmful_rows: str = field(metadata={"help": "JSON lines of prompt and completion: what should get less likely"})
    benign_rows: str = field(metadata={"help": "JSON lines of prompt and completion: what should not"})
    text: str = field(metadata={"help": "running text"})
    questions: str | None = field(default=None, metadata={"help": "JSON lines of multiple-choice questions"})
    benign: str | None = field(default=None, metadata={"help": "θ_b: a copy fine-tuned on benign replies"})
    contrasts: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "how much of the benign copy's difference to take away"}
    )
    protect: str | None = field(default=None, metadata={"help": "a text's gradient (`prosocial direg gradient`)"})
    protected: float = field(default=0.001, metadata={"help": "share of the entries that `protect` leaves out"})
    compact: bool = field(default=False, metadata={"help": "values in fp16, in files of half the size"})
    kinds: list[str] | None = field(default=None, metadata={"help": "plain, contrast, ...-protected; all by default"})
    densities: list[float] = field(
        default_factory=lambda: [0.02, 0.1, 1.0], metadata={"help": "shares of the entries to keep"}
    )
    scales: list[float] = field(
        default_factory=lambda: [0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0], metadata={"help": "λ"}
    )
    held_out: float = field(default=0.1, metadata={"help": "share of the prompts that the copies did not see"})
    text_limit: float = field(default=0.03, metadata={"help": "what the text's loss may rise by, nats per token"})
    benign_limit: float = field(default=0.05, metadata={"help": "what benign replies' loss may rise by"})
    safe_prompts: str | None = field(
        default=None, metadata={"help": "JSON lines of prompt and label: those labelled safe, not to be refused"}
    )
    refusal_limit: float = field(default=0.05, metadata={"help": "what the share of them that is refused may rise by"})
    text_tokens: int | None = field(default=None, metadata={"help": "read no more than so many tokens of the text"})
    question_count: int | None = field(default=None, metadata={"help": "ask no more than so many questions"})
    prompt_count: int | None = field(default=None, metadata={"help": "answer no more than so many safe prompts"})

    def data(self) -> HeldOutData:
        """What is measured on."""
        return HeldOutData(
            Path(self.harmful_rows),
            Path(self.benign_rows),
            Path(self.text),
            None if self.questions is None else Path(self.questions),
            held_out=self.held_out,
            text_tokens=self.text_tokens,
            question_count=self.question_count,
            safe_prompts=None if self.safe_prompts is None else Path(self.safe_prompts),
            prompt_count=self.prompt_count,
        )


@dataclass(frozen=True)
class Swept:
    """What a sweep measured, and what it chose.

    Attributes:
        points: the base's first.
        record: what stands in choice.json.
    """

    points: list[ChoicePoint]
    record: ChoiceRecord


def sweep_from(arguments: list[str]) -> Swept:
    """`run_sweep` by options: `--config FILE`, and fields over it."""
    return run_sweep(parse_fields(arguments, SweepRecipe))


def run_sweep(recipe: SweepRecipe) -> Swept:
    """Extract the vectors, measure them, draw the fronts and record the choice in `out`; gone on with after a kill.

    Raises:
        OSError: no such base, copy or file.
        ProsocialError: a kind of vector that cannot be made, vectors in `out` of something else, or no row to measure.
        FileExistsError: another sweep writes into `out`.
    """
    with one_writer(recipe.out):
        return _run_sweep(recipe)


def _run_sweep(recipe: SweepRecipe) -> Swept:
    out, data = Path(recipe.out), recipe.data()
    source = find_base(recipe.base)
    logger.info("base: %s", source.description)
    vectors = {}
    for kind in _kinds(recipe):
        for density in recipe.densities:
            file = out / f"{kind.name}-{density:g}.safetensors"
            vectors[file.stem] = _vector(recipe, kind, density, file)
    model, tokenizer = source.load(device=preferred_device())
    points = sweep(model, vectors, recipe.scales, data.measures(tokenizer), out / "points.jsonl")
    limits = [Limit(TEXT, recipe.text_limit), Limit(BENIGN_LOSS, recipe.benign_limit)]
    if data.safe_prompts is not None:
        limits.append(Limit(REFUSALS, recipe.refusal_limit))
    chosen, reason = choose(points, HARMFUL_LOSS, limits)
    for cost in (limit.figure for limit in limits):
        draw_fronts(points, HARMFUL_LOSS, cost, chosen, out / f"front-{cost.replace(' ', '-')}.png")
    record = ChoiceRecord(
        chosen=chosen,
        base=points[0],
        reason=reason,
        data={file.name: sha256(file) for file in data.files},
        held_out=data.held_out,
        text_tokens=data.text_tokens,
        question_count=data.question_count,
        prompt_count=data.prompt_count,
    )
    record.write(out / CHOICE)
    return Swept(points, record)


@dataclass(frozen=True)
class _Kind:
    """A kind of vector: its name, the benign copy and how much of it, and the gradient that protects a text."""

    name: str
    benign: str | None
    contrast: float
    protect: str | None


def _kinds(recipe: SweepRecipe) -> list[_Kind]:
    """The plain kind and the contrasts; and, where there is a gradient, these protected."""
    kinds = [_Kind("plain", None, 1.0, None)]
    if recipe.benign is not None:
        kinds += [_Kind("contrast" if c == 1 else f"contrast{c:g}", recipe.benign, c, None) for c in recipe.contrasts]
    if recipe.protect is not None:
        protected = kinds[1:] or kinds
        kinds += [dataclasses.replace(one, name=f"{one.name}-protected", protect=recipe.protect) for one in protected]
    names = [kind.name for kind in kinds]
    unknown = set(recipe.kinds or ()) - set(names)
    if unknown:
        raise ProsocialError(
            f"no kind {', '.join(sorted(unknown))} of vector can be made; there are {', '.join(names)}"
        )
    return [kind for kind in kinds if recipe.kinds is None or kind.name in recipe.kinds]


def _vector(recipe: SweepRecipe, kind: _Kind, density: float, file: Path) -> HarmVector:
    if not file.exists():
        return HarmVector.extract(
            recipe.base,
            recipe.harmful,
            density,
            benign=kind.benign,
            contrast=kind.contrast,
            protect=kind.protect,
            protected=recipe.protected,
            compact=recipe.compact,
            out=file,
        )
    vector = HarmVector(file)
    record = vector.record
    protection = (record.protection.file, record.protection.share) if record.protection else None
    made_of = (record.base, record.harmful, record.benign, protection, record.compact)
    protect = (kind.protect, recipe.protected) if kind.protect else None
    asked = (recipe.base, recipe.harmful, kind.benign, protect, recipe.compact)
    if made_of != asked:
        raise ProsocialError(f"{file} is of {made_of}, not of {asked}; choose another folder")
    return vector
