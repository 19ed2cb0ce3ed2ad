"""DiReg: what it costs beside mergekit, and what subtracting the released vector does to SmolLM2."""

from benchmarks import direg_cost, direg_effect
from benchmarks.goals import report


def run() -> bool:
    return report("direg", direg_cost.goals() + direg_effect.goals())
