"""`prosocial judges train`: the embedded judges, from labelled replies to heads, a record and a card."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prosocial.io import sha256, write_text
from hf_prosocial.models import SMOLLM2, ModelWeights, find_base, preferred_device, sketch_of, weight_hash
from hf_prosocial.preference import OBJECTIVES
from hf_prosocial.records import HeadsRecord

from .card import judges_card
from .embedded import Heads
from .features import ReplyFeatures
from .material import read_harm_rows, read_labelled_completions, read_pair_rows
from .training import fit_harm, fit_refusal, fit_rewards

_DTYPE = "bfloat16"


def train_judges(
    pairs: Path, harmful: Path, benign: Path, completions: Path, base: str | None, layers: list[int], out: Path
) -> str:
    """Read every reply once, fit the heads, measure them on what they were not fitted to, and write all of it.

    Returns:
        The card, Markdown.
    """
    data = {file.name: sha256(file) for file in (pairs, harmful, benign, completions)}
    model, tokenizer = find_base(base).load(_DTYPE, device=preferred_device())
    features = ReplyFeatures(model, tokenizer, layers)
    rows = read_pair_rows(pairs, OBJECTIVES)
    chosen, rejected = features(rows.prompts, rows.chosen), features(rows.prompts, rows.rejected)
    rewards, accuracies = fit_rewards(OBJECTIVES, chosen, rejected, rows.objective, rows.groups)
    human, unsafe = read_labelled_completions(completions, features)
    refusal, refusal_figures = fit_refusal(human)
    harm, harm_figures = fit_harm(read_harm_rows(harmful, benign, features), human[unsafe])
    heads = {"rewards": rewards, "refusal": refusal, "harm": harm}
    record = HeadsRecord(
        names={kind: head.names for kind, head in heads.items()},
        model=base or SMOLLM2,
        dtype=_DTYPE,
        weights=weight_hash(model, model.dtype),
        layers=layers,
        data=data,
        versions={name: version(name) for name in ("hf-prosocial", "torch", "transformers", "scikit-learn")},
        validation={
            "rewards": {name: asdict(estimate) for name, estimate in accuracies.items()},
            "refusal": _said(refusal_figures, "completions with human labels"),
            "harm": _said(harm_figures, "completions of unsafe prompts with human labels, full compliance is harm"),
        },
        base_sketch=sketch_of(ModelWeights(model)),
    )
    Heads(heads, record).save(out)
    card = judges_card(record)
    write_text(out / "README.md", card)
    return card


def _said(figures: Mapping[str, Any], what: str) -> dict[str, Any]:
    accuracy = figures["accuracy"]
    said = f"{figures['count']} {what}, the answering model held out: accuracy {accuracy}"
    return {**figures, "accuracy": asdict(accuracy), "said": said}
