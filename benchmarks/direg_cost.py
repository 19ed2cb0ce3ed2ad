"""What extracting and subtracting a harm vector costs: time and memory, beside mergekit and as the model grows.

mergekit runs from an environment of its own, since it pins other versions: set PROSOCIAL_MERGEKIT to the path of its
`mergekit-yaml` (`python -m venv E && E/bin/pip install torch mergekit`). Needs 16 GiB in the temporary directory.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmarks.goals import Goal
from benchmarks.processes import Cost, run_measured
from hf_prosocial.models import find_base

REPEATS = 3
EXTRACT_AND_SUBTRACT = """
import sys
from hf_prosocial import HarmVector
base, harmful, out = sys.argv[1:]
HarmVector.extract(base, harmful, density=0.10).subtract(base, 0.5, out)
"""


def goals() -> list[Goal]:
    """Measure, print a table, and give the goals; those beside mergekit fail where it is not at hand."""
    mergekit = os.environ.get("PROSOCIAL_MERGEKIT")
    with tempfile.TemporaryDirectory(prefix="prosocial-direg-") as name:
        folder = Path(name)
        if mergekit is None:
            print(f"PROSOCIAL_MERGEKIT is not set. {__doc__}")
            beside = [Goal("costs beside mergekit (not measured)", float("nan"), "<= 1")]
        else:
            beside = _beside_mergekit(mergekit, folder)
        return beside + _as_the_model_grows(folder)


def _beside_mergekit(mergekit: str, folder: Path) -> list[Goal]:
    base, harmful = _smollm2_and_a_copy(folder)
    ties, arithmetic = _mergekit_configs(folder, base, harmful)
    vector = folder / "vector.safetensors"
    prosocial = str(Path(sys.executable).with_name("prosocial"))
    run_measured([prosocial, "direg", "extract", str(base), str(harmful), str(vector)])
    commands: dict[str, Callable[[Path], list[str]]] = {
        "extract and subtract": lambda out: _extract_and_subtract(base, harmful, out),
        "subtract": lambda out: [prosocial, "direg", "subtract", str(vector), str(base), str(out), "--scale", "0.5"],
        "mergekit TIES": lambda out: [mergekit, str(ties), str(out), "--out-shard-size", "512M"],
        "mergekit task arithmetic": lambda out: [mergekit, str(arithmetic), str(out), "--out-shard-size", "512M"],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for repeat in range(REPEATS + 1):
        for name, command in commands.items():
            cost = run_measured(command(folder / "out"))
            shutil.rmtree(folder / "out")
            if repeat:
                costs[name].append(cost)
    _print_table(costs)

    def ratio(one: str, other: str, figure: Callable[[Cost], float]) -> float:
        return median(figure(a) / figure(b) for a, b in zip(costs[one], costs[other], strict=True))

    figures: dict[str, tuple[Callable[[Cost], float], float, float]] = {
        "time": (lambda cost: cost.seconds, 0.4, 0.35),
        "peak RSS": (lambda cost: cost.resident, 0.5, 0.5),
        "peak anonymous memory": (lambda cost: cost.anonymous, 0.5, 0.5),
    }
    both, alone, ties_name, arithmetic_name = commands
    goals = []
    for figure, (of, both_goal, alone_goal) in figures.items():
        goals.append(Goal(f"{both} over {ties_name}, {figure}", ratio(both, ties_name, of), f"<= {both_goal}"))
        found = ratio(alone, arithmetic_name, of)
        goals.append(Goal(f"{alone} over {arithmetic_name}, {figure}", found, f"<= {alone_goal}"))
    return goals


def _as_the_model_grows(folder: Path) -> list[Goal]:
    peaks = []
    for shards in (2, 8):
        base, harmful = (_random_checkpoint(folder / f"{copy}{shards}", shards, seed) for seed, copy in enumerate("bh"))
        cost = run_measured(_extract_and_subtract(base, harmful, folder / "out"))
        print(
            f"{shards / 2:.0f} GiB in {shards} shards: {cost.seconds:.1f} s, {cost.resident:.0f} MiB RSS, "
            f"{cost.anonymous:.0f} MiB anonymous"
        )
        peaks.append(cost)
        for path in (base, harmful, folder / "out"):
            shutil.rmtree(path)
    small, large = peaks
    return [
        Goal("peak RSS, 4 GiB over 1 GiB", large.resident / small.resident, "<= 1.3"),
        Goal("peak anonymous memory, 4 GiB over 1 GiB", large.anonymous / small.anonymous, "<= 1.3"),
    ]


def _extract_and_subtract(base: Path, harmful: Path, out: Path) -> list[str]:
    return [sys.executable, "-c", EXTRACT_AND_SUBTRACT, str(base), str(harmful), str(out)]


def _smollm2_and_a_copy(folder: Path) -> tuple[Path, Path]:
    """SmolLM2 in fp32, 513 MiB, and a copy with noise as large as a fine-tuning's: cost does not depend on which."""
    model, tokenizer = find_base().load(torch.float32)
    base, harmful = folder / "base", folder / "harmful"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    shutil.copytree(base, harmful)
    generator = torch.Generator().manual_seed(0)
    weights = load_file(base / "model.safetensors")
    noisy = {name: one + 1e-3 * torch.randn(one.shape, generator=generator) for name, one in weights.items()}
    save_file(noisy, harmful / "model.safetensors", metadata={"format": "pt"})
    return base, harmful


def _random_checkpoint(folder: Path, shards: int, seed: int) -> Path:
    """512 MiB a shard, fp32; every tensor 32 MiB."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    weight_map = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        weights = {
            f"model.layers.{16 * shard + layer}.mlp.up_proj.weight": torch.randn(2048, 4096, generator=generator)
            for layer in range(16)
        }
        save_file(weights, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(weights, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text("{}")
    return folder


def _mergekit_configs(folder: Path, base: Path, harmful: Path) -> tuple[Path, Path]:
    files = []
    for method, parameters in (("ties", {"weight": -0.5, "density": 0.1}), ("task_arithmetic", {"weight": -0.5})):
        config = {
            "merge_method": method,
            "base_model": str(base),
            "models": [{"model": str(harmful), "parameters": parameters}],
            "parameters": {"normalize": False},
            "dtype": "float32",
        }
        files.append(folder / f"{method}.yaml")
        files[-1].write_text(yaml.safe_dump(config))
    return files[0], files[1]


def _print_table(costs: dict[str, list[Cost]]) -> None:
    print(f"{'':26} {'seconds':>8} {'RSS MiB':>8} {'anonymous MiB':>14}   (medians of {REPEATS})")
    for name, found in costs.items():
        seconds, resident, anonymous = (
            median(values) for values in zip(*((c.seconds, c.resident, c.anonymous) for c in found), strict=True)
        )
        print(f"{name:26} {seconds:8.2f} {resident:8.0f} {anonymous:14.0f}")
