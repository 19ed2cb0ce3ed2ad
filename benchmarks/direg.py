"""DiReg: what it costs beside mergekit, and what subtracting the released vector does to SmolLM2."""

from benchmarks import direg_cost, direg_effect
from benchmarks.goals import report


def run() -> bool:
    mergekit = direg_cost.mergekit_command()
    return report("direg", direg_cost.goals(mergekit) + direg_effect.goals())
