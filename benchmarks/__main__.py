"""`python -m benchmarks NAME ...`: run benchmarks by name, in study/smollm2; `all` leaves out what needs trainings."""

import os
import sys
from importlib import import_module
from pathlib import Path

STUDY = Path(__file__).parent.parent / "study" / "smollm2"
SHORT = ("startup", "same_weights", "processor", "decode", "training", "direg", "accuracy")
LONG = (
    "speculation",
    "decode_gpu",
    "quality",
    "conflicts",
    "judges",
    "emergencies",
    "gate",
    "gate_people",
    "sparse",
    "by_group",
    "held_out",
    "align",
    "separability",
    "evaluation",
    "frontier",
)
NAMES = (*SHORT, "conformance", "threads", "small_steps", "fuzz", "kills", "serve", "serve_http", *LONG)


def main(arguments: list[str]) -> int:
    names = list(SHORT) if arguments == ["all"] else arguments
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        print(f"usage: python -m benchmarks NAME ... | all; the names are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    # Recipes, records, baselines and data are the study's, and named as from its folder.
    os.chdir(STUDY)
    held = [import_module(f"benchmarks.{name}").run() for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
