"""`prosocial direg gate`: from two LoRA copies and prompts to a gated harm vector."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prosocial.arm import record_base
from hf_prosocial.assets import vector_source
from hf_prosocial.data import read_prompts
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import parse_fields, sha256
from hf_prosocial.models import find_base, preferred_device
from hf_prosocial.records import RECORDED_PACKAGES, GatedVectorRecord

from .contrast import contrast_factors
from .features import Reader, default_layers
from .fit import calibrated, check_counts, fit_probe, gate_figures
from .gated_vector import GatedHarmVector
from .harmless import frightening_prompts, harmless_prompts, in_other_words, people_prompts
from .low_rank import Factors
from .probe import Probe
from .states import check_layers
from .turns import Turns

LEARNED = ("harmful", "harmless", "people")


@dataclass
class GateRecipe:
    """How to make a gated harm vector. Files of prompts are JSON lines of `prompt`; names in figures are the files'."""

    base: str = field(metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    harmful: list[str] = field(metadata={"help": "harmful requests to learn from"})
    out: str = field(metadata={"help": "directory to write"})
    harmful_copy: str | None = field(
        default=None, metadata={"help": "LoRA fine-tuned on harmful replies, of `prosocial direg finetune`"}
    )
    benign_copy: str | None = field(default=None, metadata={"help": "LoRA fine-tuned on harmless replies"})
    vector: str | None = field(
        default=None, metadata={"help": "in place of copies: a gated vector that gets another gate, as it is otherwise"}
    )
    contrast: float = field(default=1.0, metadata={"help": "c of τ = τ_h − c · τ_b"})
    r: int = field(default=8, metadata={"help": "rank of the vector"})
    scale: float = field(default=1.0, metadata={"help": "λ where the gate is fully open"})
    calibration: list[str] = field(
        default_factory=list, metadata={"help": "harmless prompts that sound frightening; by default the package's own"}
    )
    harmless: list[str] = field(default_factory=list, metadata={"help": "harmless requests beside the package's own"})
    people: list[str] = field(default_factory=list, metadata={"help": "people in need beside the package's own"})
    people_calibration: list[str] = field(default_factory=list, metadata={"help": "people in need, for calibration"})
    held_out_harmful: list[str] = field(default_factory=list, metadata={"help": "harmful requests to measure on"})
    held_out_harmless: list[str] = field(default_factory=list, metadata={"help": "harmless ones; of labels, the safe"})
    held_out_people: list[str] = field(default_factory=list, metadata={"help": "people in need to measure on"})
    layers: list[int] | None = field(default=None, metadata={"help": "whose hidden states the gate reads"})
    seed: int = field(default=0, metadata={"help": "of the package's own prompts"})

    def __post_init__(self) -> None:
        if (self.harmful_copy is None) == (self.vector is None):
            raise ProsocialError("a gate needs a harmful_copy to make a vector from, or a vector; one of the two")
        if self.vector is not None and self.benign_copy is not None:
            raise ProsocialError("benign_copy: the vector is taken as it is, and its copies are not needed")


def train_gate(recipe: GateRecipe) -> GatedHarmVector:
    """Make a gated harm vector and save it.

    Raises:
        OSError: no such base or file.
        ProsocialError: copies or prompts that cannot be used, or a prompt that is both learned from and measured on.
    """
    kinds = _texts(recipe)
    source = find_base(recipe.base)
    model, tokenizer = source.load(device=preferred_device())
    made = _vector(recipe, model, tokenizer)
    layers = tuple(recipe.layers) if recipe.layers else default_layers(model)
    check_layers(model, layers)
    reader = Reader.of(model, tokenizer, layers)
    turns = reader.turns
    learned = (reader.both(kinds.learned[name], recipe.seed) for name in LEARNED)
    probe = fit_probe(layers, reader.mean_layers, *learned)
    probe = calibrated(probe, reader.messages(kinds.frightening), reader.messages(kinds.in_need))
    figures = gate_figures(
        probe, *({name: reader.messages(rows) for name, rows in some.items()} for some in kinds.held_out)
    )
    record = _record(recipe, probe, turns, made, kinds, figures)
    record_base(record, model, tokenizer, recipe.base)
    GatedHarmVector(made.factors, probe, turns, record, recipe.out).with_scale(recipe.scale).save_pretrained(recipe.out)
    return GatedHarmVector.from_pretrained(recipe.out)


def train_gate_from(arguments: list[str]) -> GatedHarmVector:
    """`train_gate` by options, `--config FILE` and fields over it.

    Raises:
        OSError, ProsocialError: as `train_gate`, or an unreadable recipe.
    """
    return train_gate(parse_fields(arguments, GateRecipe))


@dataclass(frozen=True)
class _Vector:
    """What is subtracted, and how it was made: c, its rank, and the share of the contrast's squared norm in it."""

    factors: Mapping[str, Factors]
    contrast: float
    r: int
    kept: float


def _vector(recipe: GateRecipe, model: Any, tokenizer: Any) -> _Vector:
    if recipe.vector is not None:
        found = GatedHarmVector.from_pretrained(vector_source(recipe.vector))
        found.check(model, tokenizer)
        return _Vector(found.factors, found.record.contrast, found.record.r, found.record.kept)
    assert recipe.harmful_copy is not None
    factors, kept = contrast_factors(recipe.base, recipe.harmful_copy, recipe.benign_copy, recipe.contrast, recipe.r)
    return _Vector(factors, recipe.contrast if recipe.benign_copy else 0.0, recipe.r, kept)


@dataclass(frozen=True)
class _Kinds:
    """Texts by what they are for."""

    learned: dict[str, list[str]]
    frightening: list[str]
    in_need: list[str]
    held_out: tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]


def _texts(recipe: GateRecipe) -> _Kinds:
    held_out = (
        by_name(recipe.held_out_harmful, "unsafe"),
        by_name(recipe.held_out_harmless),
        by_name(recipe.held_out_people),
    )
    frightening = _all(recipe.calibration) if recipe.calibration else frightening_prompts()
    in_need = _all(recipe.people_calibration)
    given = {
        "harmful": _all(recipe.harmful, "unsafe"),
        "harmless": _all(recipe.harmless),
        "people": _all(recipe.people),
    }
    reported = [text for some in held_out for texts in some.values() for text in texts]
    _apart(given | {"calibration": [*frightening, *in_need]}, {"held out": reported})
    _apart(given, {"calibration": [*frightening, *in_need]})
    _apart({"harmful": given["harmful"]}, {"harmless": given["harmless"], "people": given["people"]})
    own = {
        "harmful": in_other_words(given["harmful"], recipe.seed),
        "harmless": harmless_prompts(recipe.seed),
        "people": people_prompts(recipe.seed),
    }
    # What a template happens to say is left out where it is measured on, whoever wrote it first.
    measured = {_key(text) for text in [*reported, *frightening, *in_need]}
    own = {name: [text for text in texts if _key(text) not in measured] for name, texts in own.items()}
    if not in_need:
        in_need, own["people"] = own["people"][::10], [one for at, one in enumerate(own["people"]) if at % 10]
    learned = {name: list(dict.fromkeys(given[name] + own[name])) for name in given}
    check_counts({name: len(texts) for name, texts in learned.items()} | {"for calibration": len(frightening)})
    return _Kinds(learned, frightening, in_need, held_out)


def _apart(some: Mapping[str, Sequence[str]], others: Mapping[str, Sequence[str]]) -> None:
    """Refuse prompts that stand in two kinds of files.

    Raises:
        ProsocialError: the first of them.
    """
    for name, texts in others.items():
        keys = {_key(text) for text in texts}
        for kind, own in some.items():
            both = [text for text in own if _key(text) in keys]
            if both:
                raise ProsocialError(
                    f"{len(both)} prompts are both {kind} and {name}, the first is {both[0]!r:.80}; take them out of "
                    "one of the files"
                )


def _key(text: str) -> str:
    """A text without what does not make another of it: case, white space, and punctuation at its ends."""
    return " ".join(text.split()).casefold().strip(string.punctuation + " ")


def by_name(files: Sequence[str], label: str = "safe") -> dict[str, list[str]]:
    """What the user says last in each prompt of some files, by the files' names; of labelled prompts, of one label.

    Raises:
        ProsocialError: two files of one name, or a file without such a prompt.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        if Path(file).stem in found:
            raise ProsocialError(f"two files are called {Path(file).stem}, by which figures are named; rename one")
        found[Path(file).stem] = _last_turns(file, label)
    return found


def _all(files: Sequence[str], label: str = "safe") -> list[str]:
    return list(dict.fromkeys(text for file in files for text in _last_turns(file, label)))


def _last_turns(file: str, label: str) -> list[str]:
    prompts = read_prompts(file)
    found = [prompt.conversation[-1][1] for prompt in prompts if prompt.label in (None, label)]
    if not found:
        raise ProsocialError(f"{file} holds no prompt that is labelled {label!r}, or without a label")
    return found


def _record(
    recipe: GateRecipe, probe: Probe, turns: Turns, made: _Vector, kinds: _Kinds, figures: dict[str, Any]
) -> GatedVectorRecord:
    files = recipe.harmful + recipe.harmless + recipe.people + recipe.calibration + recipe.people_calibration
    return GatedVectorRecord(
        scale=recipe.scale,
        contrast=made.contrast,
        r=made.r,
        kept=made.kept,
        layers=probe.layers,
        mean_layers=probe.mean_layers,
        threshold=probe.threshold,
        full=probe.full,
        turns=asdict(turns),
        prompts={Path(file).name: sha256(Path(file)) for file in files},
        counts={name: len(texts) for name, texts in kinds.learned.items()}
        | {"frightening, for calibration": len(kinds.frightening), "people, for calibration": len(kinds.in_need)},
        figures=figures,
        versions={name: version(name) for name in RECORDED_PACKAGES},
    )
