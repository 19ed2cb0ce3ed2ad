"""The released ARM on held-out pairs of what `prosocial data build` makes, beside the one of shared features alone.

The latter has the shape of UniARM but for its shift: the same rank, all of it shared by the objectives and mixed by the
preference. It is compared where it was trained: `prosocial arm train --config recipes/smollm2_arm.yaml --r1 0 --r2 8
--lora_alpha 16 --output_dir runs/shared-features`.
"""

from pathlib import Path

from benchmarks.goals import Goal, report
from benchmarks.pairs_by_group import held_out
from hf_prosocial.assets import released_arm

SHARED = Path("runs/shared-features")


def run() -> bool:
    adapters = {"released": released_arm()} | ({"shared features": SHARED} if SHARED.is_dir() else {})
    found = held_out(Path("data/preferences/dev.jsonl"), adapters, Path("runs/held_out"))
    found.tell()
    if "shared features" in adapters:
        found.less("released", "shared features")
    return report("held_out", [Goal("mean accuracy, the released ARM", float(found.means["released"][0]), ">= 0.66")])
