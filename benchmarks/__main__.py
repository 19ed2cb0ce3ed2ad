"""`python -m benchmarks NAME ...`: run benchmarks by name; `all` leaves out what needs trainings."""

import sys
from importlib import import_module

SHORT = ("startup", "processor", "decode", "training", "direg", "accuracy")
NAMES = (*SHORT, "speculation", "decode_gpu", "quality", "conflicts", "separability", "evaluation", "frontier")


def main(arguments: list[str]) -> int:
    names = list(SHORT) if arguments == ["all"] else arguments
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        print(f"usage: python -m benchmarks NAME ... | all; the names are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    held = [import_module(f"benchmarks.{name}").run() for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
