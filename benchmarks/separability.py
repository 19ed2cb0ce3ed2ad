"""Can the base tell the held-out pairs at all? Linear heads on its hidden states, trained on the ARM's training pairs.

A head compares two finished replies, an ARM says at every token where a good one goes on; so what heads reach tells how
much of an objective is in these pairs and in this base. Set PROSOCIAL_DATA to the data's folder. Half an hour on one
core; what was measured of this base and data is kept.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from hf_prosocial import OBJECTIVES
from hf_prosocial.assets import released_arm, released_judges
from hf_prosocial.estimates import Estimate, proportion
from hf_prosocial.io import kept, markdown_table, sha256
from hf_prosocial.judges.embedded import Heads
from hf_prosocial.judges.features import FeatureReader
from hf_prosocial.judges.material import PairRows, read_pair_rows
from hf_prosocial.judges.training import fit_bradley_terry
from hf_prosocial.records import TRAINING, TrainingRecord

DATA = Path(os.environ.get("PROSOCIAL_DATA", "data")) / "preferences"
RECORD = Path("records/separability.json")


def run() -> bool:
    # The embedded judges read the same base at the same layers, and check its weights.
    judges = Heads.load(released_judges())
    files = {name: DATA / f"{name}.jsonl" for name in ("train", "dev")}
    settings = {"base": judges.record.weights, "layers": judges.record.layers}
    settings |= {name: sha256(file) for name, file in files.items()}
    figures = kept(RECORD, settings, lambda: _figures(judges.features(), files))
    print(_table(figures))
    return True


def _figures(features: FeatureReader, files: dict[str, Path]) -> dict[str, Any]:
    training, held_out = (read_pair_rows([files[name]], OBJECTIVES) for name in ("train", "dev"))
    seen, unseen = _differences(features, training), _differences(features, held_out)
    deviation, prompts = seen.std(0, dtype=np.float64) + 1e-6, training.groups
    found = {}
    for index, name in enumerate(OBJECTIVES):
        own = np.flatnonzero(training.objective == index)
        weight = fit_bradley_terry(seen[own] / deviation, [prompts[row] for row in own])
        won = (unseen[held_out.objective == index] / deviation) @ weight
        found[name] = {"training_pairs": len(own), "held_out": asdict(proportion(torch.from_numpy(won)))}
    return found


def _table(figures: dict[str, Any]) -> str:
    arm = TrainingRecord.read(released_arm() / TRAINING).dev
    if arm is None:
        raise ValueError("the released ARM's record tells no margins")
    heads = ["objective", "training pairs", "held-out pairs", "in order by heads", "by the released ARM, own p"]
    rows = []
    for name, one in figures.items():
        by_heads, by_arm = Estimate(**one["held_out"]), arm.objectives[name].own
        rows.append([name, str(one["training_pairs"]), str(by_heads.count), str(by_heads), str(by_arm)])
    return markdown_table(heads, rows)


def _differences(features: FeatureReader, rows: PairRows) -> Float[np.ndarray, "pairs features"]:
    """Of the chosen reply's features to the rejected one's; one call, so that many replies to a prompt read it once."""
    found = features([*rows.prompts, *rows.prompts], [*rows.chosen, *rows.rejected])
    return found[: len(rows.prompts)] - found[len(rows.prompts) :]
