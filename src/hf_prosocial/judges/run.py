"""`prosocial judges train`: the embedded judges, from labelled replies to heads, a record and a card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prosocial.io import parse_fields, sha256, write_text
from hf_prosocial.models import SMOLLM2, ModelWeights, find_base, preferred_device, sketch_of, weight_hash
from hf_prosocial.preference import OBJECTIVES
from hf_prosocial.records import HeadsRecord

from .card import judges_card
from .embedded import Head, Heads
from .features import FeatureReader, ReplyFeatures
from .material import read_harm_rows, read_labelled_completions, read_pair_rows, read_people
from .sentence_features import MINILM, SentenceFeatures, sentence_model
from .training import fit_harm, fit_refusal, fit_rewards

_DTYPE = "bfloat16"


@dataclass
class JudgesRecipe:
    """What judges are trained on, all JSON lines, and what they read replies by."""

    harmful: str = field(metadata={"help": "harmful replies, of prompt and completion"})
    benign: str = field(metadata={"help": "benign replies, likewise"})
    completions: str = field(metadata={"help": "XSTest's completions, with people's labels"})
    out: str = field(metadata={"help": "folder of the heads, their record and their card"})
    pairs: list[str] = field(
        default_factory=list,
        metadata={"help": "preference pairs, for rewards; those of a `group` are held out together"},
    )
    people: str | None = field(default=None, metadata={"help": "replies to people in need, with a reader's labels"})
    sentences: bool = field(default=False, metadata={"help": "read all-MiniLM-L6-v2's embeddings, and no base"})
    base: str | None = field(default=None, metadata={"help": "whose hidden states are read; SmolLM2 by default"})
    layers: list[int] = field(
        default_factory=lambda: [12, 18, 24, 30], metadata={"help": "which of them, 0 the embeddings"}
    )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, by its path."""
        files = [*self.pairs, self.harmful, self.benign, self.completions, *([self.people] if self.people else [])]
        return {"/".join(Path(file).parts[-2:]): sha256(file) for file in files}


def train_judges_from(arguments: list[str]) -> str:
    """`train_judges` by options: `--config FILE`, and fields over it."""
    return train_judges(parse_fields(arguments, JudgesRecipe))


def train_judges(recipe: JudgesRecipe) -> str:
    """Read every reply once, fit the heads, measure them on what they were not fitted to, and write all of it.

    Returns:
        The card, Markdown.

    Raises:
        OSError: no such file.
        ProsocialError: a row that is none, or too few to hold some out.
    """
    hashes = recipe.hashes()
    features, described = _of_sentences() if recipe.sentences else _of_hidden_states(recipe.base, recipe.layers)
    human, unsafe = read_labelled_completions(recipe.completions, features)
    people = None if recipe.people is None else read_people(recipe.people, features)
    refusal, refusal_figures = fit_refusal(human, people)
    harm, harm_figures = fit_harm(read_harm_rows(recipe.harmful, recipe.benign, features), human[unsafe])
    heads, accuracies = {"refusal": refusal, "harm": harm}, {}
    if recipe.pairs:
        heads["rewards"], accuracies = _rewards(recipe.pairs, features)
    record = HeadsRecord(
        names={kind: head.names for kind, head in heads.items()},
        data=hashes,
        versions={name: version(name) for name in ("hf-prosocial", "torch", "transformers", "scikit-learn")},
        validation={
            **({"rewards": accuracies} if accuracies else {}),
            "refusal": _of_refusals(refusal_figures),
            "harm": _said(harm_figures, "completions of unsafe prompts with human labels, full compliance is harm"),
        },
        **described,
    )
    Heads(heads, record).save(recipe.out)
    card = judges_card(record)
    write_text(Path(recipe.out) / "README.md", card)
    return card


def _rewards(pairs: Sequence[str], features: FeatureReader) -> tuple[Head, dict[str, Any]]:
    rows = read_pair_rows(pairs, OBJECTIVES)
    chosen, rejected = features(rows.prompts, rows.chosen), features(rows.prompts, rows.rejected)
    head, accuracies = fit_rewards(OBJECTIVES, chosen, rejected, rows.objective, rows.groups)
    return head, {name: asdict(estimate) for name, estimate in accuracies.items()}


def _of_sentences() -> tuple[FeatureReader, dict[str, Any]]:
    folder = sentence_model()
    described = {"model": MINILM, "dtype": "float32", "weights": sha256(folder / "model.safetensors"), "layers": []}
    return SentenceFeatures(folder), described | {"features": "sentences"}


def _of_hidden_states(base: str | None, layers: list[int]) -> tuple[FeatureReader, dict[str, Any]]:
    model, tokenizer = find_base(base).load(_DTYPE, device=preferred_device())
    described = {
        "model": base or SMOLLM2,
        "dtype": _DTYPE,
        "weights": weight_hash(model, model.dtype),
        "layers": layers,
    }
    return ReplyFeatures(model, tokenizer, layers), described | {"base_sketch": sketch_of(ModelWeights(model))}


def _of_refusals(figures: Mapping[str, Any]) -> dict[str, Any]:
    """XSTest's figures, and those of people in need beside them."""
    people = figures.get("people")
    said = _said({name: one for name, one in figures.items() if name != "people"}, "completions with human labels")
    if people is None:
        return said
    of_people = _said(people, "replies to people in need with a reader's labels", held_out="the people")
    return {**said, "people": of_people, "said": f"{said['said']}; {of_people['said']}"}


def _said(figures: Mapping[str, Any], what: str, *, held_out: str = "the answering model") -> dict[str, Any]:
    accuracy = figures["accuracy"]
    said = f"{figures['count']} {what}, {held_out} held out: κ {figures['kappa']:.2f}, accuracy {accuracy}"
    return {**figures, "accuracy": asdict(accuracy), "said": said}
