"""Which objectives conflict on the training pairs: cosines of their gradients over many pairs, not of a step's few.

Each objective's gradient of the recipe's loss, in samples of 8 pairs, of a fresh adapter and of the released one; each
pair under a preference as the training draws it, and under the uniform one. Set PROSOCIAL_DATA to the data's folder.
Half an hour for each of the four on one core, in up to 14 GiB; what was measured of this recipe, ARM and data is kept.
"""

import copy
import math
import os
import random
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from peft import PeftModel, get_peft_model

from benchmarks.gradient_cosines import GradientCosines, Gradients, gradient_cosines
from hf_prosocial import load_arm
from hf_prosocial.arm import ArmTrainingArguments, PairReading, pair_log_probs, pair_losses, prepare, read_material
from hf_prosocial.arm.batch import collate, reply_tokens
from hf_prosocial.arm.losses import length_free_margins
from hf_prosocial.arm.preference_sampling import PreferenceSampler
from hf_prosocial.arm.recipe import Material
from hf_prosocial.arm.run import ArmRecipe
from hf_prosocial.assets import released_arm
from hf_prosocial.data import Pair
from hf_prosocial.io import kept, markdown_table, parse_recipe, progress_bar, sha256
from hf_prosocial.pblora import tuner_of

RECIPE, RECORDS = "recipes/smollm2_arm.yaml", Path("records/conflicts")
SAMPLES, PAIRS = 49, 8  # as many as non_judgmental, the smallest, has


def run() -> bool:
    recipe, training = _recipe()
    files = {"recipe": RECIPE, "arm": str(released_arm() / "adapter_model.safetensors"), "data": recipe.train_data}
    settings = {"samples": SAMPLES, "pairs_in_each": PAIRS, **{name: sha256(file) for name, file in files.items()}}
    material = read_material(recipe)
    prepare(material, recipe, training)
    for preferences in ("as trained", "uniform"):
        for state in ("fresh", "released"):
            measured = partial(_measured, state, material, recipe, training, uniform=preferences == "uniform")
            figures = kept(RECORDS / f"{state}, {preferences}.json", settings, measured)
            print(f"\n{state}, {preferences}\n{_table(figures, recipe.objectives)}", flush=True)
    return True


def _measured(
    state: str, material: Material, recipe: ArmRecipe, training: ArmTrainingArguments, *, uniform: bool
) -> dict[str, Any]:
    arm = _arm(state, material, recipe)
    return _figures(gradient_cosines(_gradients(arm, material, training, uniform=uniform)), recipe.objectives)


def _recipe() -> tuple[ArmRecipe, ArmTrainingArguments]:
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config", RECIPE, "--output_dir", folder]
        if data := os.environ.get("PROSOCIAL_DATA"):
            options += ["--train_data", f"{data}/preferences/train.jsonl"]
        recipe, training = parse_recipe(options, ArmRecipe, ArmTrainingArguments)
    if not (training.length_free and training.relative_to_base):
        raise ValueError("the gradients here are of the length-free loss relative to the base; the recipe has another")
    return recipe, training


def _arm(state: str, material: Material, recipe: ArmRecipe) -> PeftModel:
    """An adapter on a copy of the base, its weights to be differentiated."""
    base = copy.deepcopy(material.base)
    if state == "fresh":
        torch.manual_seed(0)
        return get_peft_model(base, recipe.adapter())
    arm = load_arm(released_arm(), base, tokenizer=material.tokenizer)
    for name, weight in arm.named_parameters():
        weight.requires_grad_("pblora_" in name)
    return arm


def _gradients(arm: PeftModel, material: Material, training: ArmTrainingArguments, *, uniform: bool) -> Gradients:
    """SAMPLES gradients of each objective, of PAIRS pairs each, drawn without replacement."""
    k = len(material.pairs.objectives)
    sampler = PreferenceSampler(k, training.preference_sampling, training.preference_concentration, seed=0)
    found = []
    with progress_bar(k * SAMPLES, "gradients", "sample") as progress:
        for objective in range(k):
            own = [pair for pair in material.pairs.rows if pair.objective == objective]
            drawn = random.Random(0).sample(own, SAMPLES * PAIRS)
            for start in range(0, len(drawn), PAIRS):
                rows = drawn[start : start + PAIRS]
                p, _ = sampler.draw([objective] * PAIRS, [row.line for row in rows], step=0)
                found.append(_gradient(arm, rows, torch.full_like(p, 1 / k) if uniform else p, training.beta_r))
                progress.update()
    return np.stack(found).reshape(k, SAMPLES, -1)


def _gradient(
    arm: PeftModel, rows: list[Pair], p: Float[torch.Tensor, "rows k"], beta_r: float
) -> Float[np.ndarray, " entries"]:
    tuner = tuner_of(arm)
    parameters = [weight for weight in arm.parameters() if weight.requires_grad]
    tuner.set_preference(p)
    batch = collate(rows, pad_token_id=0)
    log_probs = pair_log_probs(arm, batch, PairReading(tuner.wrapped.dtype)) - batch["reference"].T
    margins = length_free_margins(log_probs, reply_tokens(batch["segments"]))
    gradients = torch.autograd.grad(pair_losses(margins, beta_r).mean(), parameters)
    return torch.cat([one.flatten() for one in gradients]).float().numpy()


def _table(figures: Mapping[str, Any], objectives: list[str]) -> str:
    rows = [
        [name, f"{figures['signal'][name]:.3f}", *(_cell(figures["cosines"], name, other) for other in objectives)]
        for name in objectives
    ]
    return markdown_table(["gradient of", "signal", *objectives], rows)


def _cell(cosines: Mapping[str, Any], one: str, other: str) -> str:
    if one == other:
        return "1"
    cosine = cosines.get(f"{one}~{other}") or cosines[f"{other}~{one}"]
    if math.isnan(cosine["mean"]):
        return "not told"
    return f"{cosine['mean']:+.2f} [{cosine['low']:+.2f}, {cosine['high']:+.2f}]"


def _figures(found: GradientCosines, objectives: list[str]) -> dict[str, Any]:
    return {
        "signal": dict(zip(objectives, found.signal.tolist(), strict=True)),
        "cosines": {
            f"{objectives[i]}~{objectives[j]}": asdict(found.cosines[i][j])
            for i in range(len(objectives))
            for j in range(i + 1, len(objectives))
        },
    }
