"""How long `prosocial --help` takes, as a whole process."""

import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn


def run() -> bool:
    command = [str(Path(sys.executable).with_name("prosocial")), "--help"]
    tasks = {"help": lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)}
    seconds = median(in_turn(tasks, 9)["help"])
    return report("startup", [Goal("prosocial --help, seconds, median of 9", seconds, "<= 0.5")])
