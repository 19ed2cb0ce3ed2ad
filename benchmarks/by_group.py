"""Ours, PARM and GenARM on held-out pairs of the split by group, trained on it (study/smollm2/by_group).

Its data are the second edition that `data` held when they were trained, and no `prosocial data build`.
"""

from pathlib import Path

import numpy as np

from benchmarks.goals import Goal, report
from benchmarks.pairs_by_group import held_out

OURS, OTHERS = ("ours-1", "ours-2"), ("parm-1", "parm-2", "genarm-1")


def run() -> bool:
    adapters = {name: Path("by_group") / name for name in (*OURS, *OTHERS)}
    found = held_out(Path("data/preferences/dev.jsonl"), adapters, Path("runs/by_group"))
    found.tell()
    goals = [Goal(f"mean accuracy on dev, {name}", float(found.means[name][0]), ">= 0.66") for name in OURS]
    for ours in OURS:
        for other in OTHERS:
            low = float(np.quantile(found.less(ours, other)[1:], 0.025))
            goals.append(Goal(f"{ours} less {other}, lower bound", low, ">= 0"))
    return report("by_group", goals)
