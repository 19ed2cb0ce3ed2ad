"""`prosocial judges train`: the embedded judges, from labelled replies to heads, a record and a card."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prosocial.bases import SMOLLM2, find_base, preferred_device
from hf_prosocial.evaluation.judges.card import judges_card
from hf_prosocial.evaluation.judges.embedded import Heads
from hf_prosocial.evaluation.judges.features import ReplyFeatures
from hf_prosocial.evaluation.judges.material import read_completions, read_harm_rows, read_pair_rows
from hf_prosocial.evaluation.judges.training import fit_harm, fit_refusal, fit_rewards
from hf_prosocial.files import sha256, write_text
from hf_prosocial.identity import weight_hash
from hf_prosocial.preference import OBJECTIVES

_DTYPE = "bfloat16"


def run_train_judges(
    pairs: Path, harmful: Path, benign: Path, completions: Path, base: str | None, layers: list[int], out: Path
) -> None:
    """Read every reply once, fit the heads, measure them on what they were not fitted to, and write all of it."""
    source = base or SMOLLM2
    model, tokenizer = find_base(base).load(_DTYPE, device=preferred_device())
    features = ReplyFeatures(model, tokenizer, layers)
    rows = read_pair_rows(pairs, OBJECTIVES)
    chosen, rejected = features(rows.prompts, rows.chosen), features(rows.prompts, rows.rejected)
    rewards, accuracies = fit_rewards(OBJECTIVES, chosen, rejected, rows.objective, rows.groups)
    human, unsafe = read_completions(completions, features)
    refusal, refusal_figures = fit_refusal(human)
    harm, harm_figures = fit_harm(read_harm_rows(harmful, benign, features), human[unsafe])
    record = {
        "model": source,
        "dtype": _DTYPE,
        "weights": weight_hash(model, model.dtype),
        "layers": layers,
        "data": {file.name: sha256(file) for file in (pairs, harmful, benign, completions)},
        "versions": {name: version(name) for name in ("hf-prosocial", "torch", "transformers", "scikit-learn")},
        "validation": {
            "rewards": {name: asdict(estimate) for name, estimate in accuracies.items()},
            "refusal": _said(refusal_figures, "completions with human labels"),
            "harm": _said(harm_figures, "completions of unsafe prompts with human labels, full compliance is harm"),
        },
    }
    Heads({"rewards": rewards, "refusal": refusal, "harm": harm}, record).save(out)
    write_text(out / "README.md", judges_card(record))
    print(judges_card(record))


def _said(figures: Mapping[str, Any], what: str) -> dict[str, Any]:
    accuracy = figures["accuracy"]
    said = f"{figures['count']} {what}, the answering model held out: accuracy {accuracy}"
    return {**figures, "accuracy": asdict(accuracy), "said": said}
