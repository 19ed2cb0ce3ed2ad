"""The trainings behind the quality table, each kept as a record of its own, so that the table grows run by run.

A record in records/quality is bound to the settings that it was trained by: the recipe's, as they are parsed
now. The adapters stay in runs/quality.
"""

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from safetensors import safe_open

from hf_prosocial import OBJECTIVES
from hf_prosocial.arm import ArmTrainingArguments, PairTrainingArguments
from hf_prosocial.arm.run import ArmRecipe
from hf_prosocial.genarm.run import GenArmRecipe
from hf_prosocial.io import changed, parse_recipe, write_text

RUNS, RECORDS = Path("runs/quality"), Path("records/quality")
PROSOCIAL = "from hf_prosocial.cli import app; app()"
# Where things were kept, where a training was halted and how its steps were computed changes no figure but by rounding.
UNBOUND = ("resume_from_checkpoint", "output_dir", "reference_log_probs", "compile_base")
MICRO_BATCHES = ("per_device_train_batch_size", "gradient_accumulation_steps")


@dataclass(frozen=True)
class Method:
    """A way of training, and how many adapters' forward passes a guided token costs."""

    name: str
    command: str
    recipe: str
    options: tuple[str, ...] = ()
    forwards: int = 1

    def folder(self, seed: int) -> Path:
        return RUNS / f"{self.name.replace(' ', '-').lower()}-{seed}"

    def record(self, seed: int) -> Path:
        return RECORDS / f"{self.folder(seed).name}.json"

    def arguments(self, seed: int) -> list[str]:
        """Of the command, its name left out."""
        return ["--config", self.recipe, "--seed", str(seed), "--output_dir", str(self.folder(seed)), *self.options]

    def settings(self, seed: int) -> dict[str, Any]:
        """The recipe's and the trainer's, as training.json has them."""
        training: Any
        if self.command == "train":
            recipe, training = parse_recipe(self.arguments(seed), ArmRecipe, ArmTrainingArguments)
        else:
            recipe, training = parse_recipe(self.arguments(seed), GenArmRecipe, PairTrainingArguments)
        return _bound({"recipe": dataclasses.asdict(recipe), "training": changed(training)})


METHODS = (
    Method("ours", "train", "recipes/smollm2_arm.yaml", ("--conflict", "pcgrad")),
    Method("no projection", "train", "recipes/smollm2_arm.yaml", ("--conflict", "none")),
    Method("PARM", "train", "recipes/smollm2_parm.yaml"),
    Method("GenARM", "train-genarm", "recipes/smollm2_genarm.yaml", forwards=len(OBJECTIVES)),
)


def trained(method: Method, seed: int) -> dict[str, Any]:
    """The kept record of a training; trains, or goes on, where there is none.

    Raises:
        ValueError: the record is of other settings than the recipe's.
    """
    kept = method.record(seed)
    if not kept.is_file():
        folder = method.folder(seed)
        if not _measured(folder):
            print(f"training {folder}", file=sys.stderr)
            command = [sys.executable, "-c", PROSOCIAL, "arm", method.command, *method.arguments(seed), "--resume"]
            subprocess.run(command, check=True)
        record = json.loads((folder / "training.json").read_text())
        RECORDS.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(_figures(record, method, folder), indent=1) + "\n")
    record = json.loads(kept.read_text())
    found, wanted = _bound(record), json.loads(json.dumps(method.settings(seed)))
    if found != wanted:
        differing = [
            f"{name}: {found[part].get(name)} there, {wanted[part].get(name)} in the recipe"
            for part in wanted
            for name in {**found[part], **wanted[part]}
            if found[part].get(name) != wanted[part].get(name)
        ]
        raise ValueError(f"{kept} is of other settings ({'; '.join(differing)}); take it away to train anew")
    return record


def _measured(folder: Path) -> bool:
    record = folder / "training.json"
    return record.is_file() and "dev" in json.loads(record.read_text())


def _bound(record: dict[str, Any]) -> dict[str, Any]:
    """The settings that the figures follow from; micro-batches as the pairs of a whole step."""
    settings = {
        part: {name: value for name, value in record[part].items() if name not in (*UNBOUND, *MICRO_BATCHES)}
        for part in ("recipe", "training")
    }
    size, steps = (record["training"].get(name, default) for name, default in zip(MICRO_BATCHES, (8, 1), strict=True))
    settings["training"]["pairs_a_step"] = size * steps
    return settings


def _figures(record: dict[str, Any], method: Method, folder: Path) -> dict[str, Any]:
    """What is kept of training.json: settings, figures, and the log's conflicts."""
    names = ("command", "recipe", "training", "data", "versions", "dev")
    own = {"parameters": _parameters(folder), "forwards": method.forwards, "conflicts": _conflicts(record["log"])}
    return {name: record[name] for name in names} | own


def _conflicts(log: Any) -> dict[str, Any]:
    """Means over the log's lines: each pair's cosine, its share below 0, all conflicts and the update's change."""
    lines = [line for line in log if "conflicts" in line] if isinstance(log, list) else []
    if not lines:
        return {}
    pairs = sorted({key for line in lines for key in line if key.startswith("cosine/")})
    seen = {key: [line[key] for line in lines if key in line] for key in pairs}
    return {
        "lines": len(lines),
        "conflicts": mean(line["conflicts"] for line in lines),
        "update_change": mean(line["update_change"] for line in lines),
        "cosines": {key.removeprefix("cosine/"): mean(values) for key, values in seen.items()},
        "below_0": {key.removeprefix("cosine/"): mean(value < 0 for value in seen[key]) for key in pairs},
    }


def _parameters(folder: Path) -> int:
    """Entries of the adapters in a folder, checkpoints left out."""
    files = [*folder.glob("adapter_model.safetensors"), *folder.glob("*/adapter_model.safetensors")]
    total = 0
    for file in files:
        if file.parent.name.startswith("checkpoint-"):
            continue
        with safe_open(file, framework="pt") as tensors:
            total += sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118 - no mapping
    return total
