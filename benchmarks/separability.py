"""Can the base tell the held-out pairs at all? Linear heads on its hidden states, trained on the ARM's training pairs.

A head compares two finished replies, an ARM says at every token where a good one goes on; so what heads reach tells how
much of an objective is in these pairs and in this base. Set PROSOCIAL_DATA to the data's folder. Half an hour on one
core; what was measured of this base and data is kept.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.markdown import markdown_table
from hf_prosocial import OBJECTIVES
from hf_prosocial.assets import released_arm
from hf_prosocial.bases import find_base
from hf_prosocial.estimates import Estimate, proportion
from hf_prosocial.evaluation.judges.features import ReplyFeatures
from hf_prosocial.evaluation.judges.material import PairRows, read_pair_rows
from hf_prosocial.evaluation.judges.training import fit_bradley_terry
from hf_prosocial.evaluation.scoring import kept
from hf_prosocial.files import sha256
from hf_prosocial.identity import weight_hash

DATA = Path(os.environ.get("PROSOCIAL_DATA", "data")) / "preferences"
RECORD = Path("benchmarks/results/separability.json")
LAYERS = (12, 18, 24, 30)  # those of the embedded judges


def run() -> bool:
    model, tokenizer = find_base().load(torch.bfloat16)
    files = {name: DATA / f"{name}.jsonl" for name in ("train", "dev")}
    settings = {"base": weight_hash(model, model.dtype), "layers": list(LAYERS)}
    settings |= {name: sha256(file) for name, file in files.items()}
    rows = {name: read_pair_rows(file, OBJECTIVES) for name, file in files.items()}
    features = ReplyFeatures(model, tokenizer, LAYERS)
    figures = kept(RECORD, settings, lambda: _figures(features, rows["train"], rows["dev"]))
    print(_table(figures))
    return True


def _figures(features: ReplyFeatures, training: PairRows, held_out: PairRows) -> dict[str, Any]:
    seen, unseen = _differences(features, training), _differences(features, held_out)
    deviation = seen.std(0, dtype=np.float64) + 1e-6
    found = {}
    for index, name in enumerate(OBJECTIVES):
        own = np.flatnonzero(training.objective == index)
        weight = fit_bradley_terry(seen[own] / deviation, [training.groups[row] for row in own])
        won = (unseen[held_out.objective == index] / deviation) @ weight
        found[name] = {"training_pairs": len(own), "held_out": asdict(proportion(torch.from_numpy(won)))}
    return found


def _table(figures: dict[str, Any]) -> str:
    arm = json.loads((released_arm() / "training.json").read_text(encoding="utf-8"))["dev"]["objectives"]
    heads = ["objective", "training pairs", "held-out pairs", "in order by heads", "by the released ARM, own p"]
    rows = []
    for name, one in figures.items():
        by_heads, by_arm = Estimate(**one["held_out"]), Estimate(**arm[name]["own"])
        rows.append([name, str(one["training_pairs"]), str(by_heads.count), str(by_heads), str(by_arm)])
    return markdown_table(heads, rows)


def _differences(features: ReplyFeatures, rows: PairRows) -> Float[np.ndarray, "pairs features"]:
    """Of the chosen reply's features to the rejected one's; one call, so that a prompt's replies share batches."""
    found = features([*rows.prompts, *rows.prompts], [*rows.chosen, *rows.rejected])
    return found[: len(rows.prompts)] - found[len(rows.prompts) :]
