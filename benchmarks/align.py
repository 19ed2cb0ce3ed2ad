"""A model in one command: what `prosocial data build` made, kills at random moments, and a whole run and a second one.

The kills are over a run of a tiny random model (tests/support), 20 of them; the whole run is of SmolLM2 by the budget
of minutes, into runs/align, from data/../raw. Trainings print their own progress.
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.goals import Goal, report
from hf_prosocial.align import AlignRecipe, align_base, aligned_at, warnings_of
from hf_prosocial.data import build_data, describe_data
from hf_prosocial.io import sha256
from hf_prosocial.models import SMOLLM2

ROOT = Path(__file__).parent.parent
RAW = Path("data").resolve().parent / "raw"
OUT = Path("runs/align")
KILLS, SEED = 20, 0
MADE = (
    "arm/adapter_model.safetensors",
    "harm-vector/harm_vector.safetensors",
    "safe-base/model.safetensors",
    "gated-harm-vector/gated_harm_vector.safetensors",
)
PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from support.aligned import EFFORT, JUDGES
from hf_prosocial.align import AlignRecipe, align_base
align_base(AlignRecipe("base", "out", mixture="mixture.yaml", effort=EFFORT, judges=JUDGES))
"""


def run() -> bool:
    goals = [*_data(), *_kills(), *_whole()]
    return report("align", goals)


def _data() -> list[Goal]:
    with tempfile.TemporaryDirectory() as name:
        one, other = (build_data(Path(name) / folder, raw=RAW) for folder in ("one", "other"))
        differing = [file for file in _files(one) if (one / file).read_bytes() != (other / file).read_bytes()]
        objectives = describe_data(one).objectives
    for objective, found in objectives.items():
        print(f"{objective}: {found}")
    return [
        Goal("files that differ between two builds", len(differing), "<= 0"),
        Goal("prompts in both splits", sum(one.shared_prompts for one in objectives.values()), "<= 0"),
        Goal("replies in both splits", sum(one.shared_replies for one in objectives.values()), "<= 0"),
        Goal("least held-out pairs of an objective", min(one.held_out for one in objectives.values()), ">= 80"),
    ]


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _kills() -> list[Goal]:
    """A run that was killed again and again, each time at another moment, against one that was not."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.aligned import everything, tiny_base

    drawn = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        whole, folder = Path(name) / "whole", Path(name) / "killed"
        for one in (whole, folder):
            one.mkdir()
            tiny_base(one)
            everything(one)
        start = time.monotonic()
        _started(whole).wait()
        longest = time.monotonic() - start
        wanted = {file: sha256(whole / "out" / file) for file in MADE}
        killed = wrong = 0
        while killed < KILLS:
            process = _started(folder)
            try:
                process.wait(drawn.uniform(1, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                print(f"kill {killed}: {_done(folder / 'out')}", flush=True)
                continue
            wrong += _differ(folder / "out", wanted)
            shutil.rmtree(folder / "out")
        if _started(folder).wait():
            wrong += 1
        wrong += _differ(folder / "out", wanted)
    return [Goal("runs that were killed and ended with other hashes", wrong, "<= 0")]


def _started(folder: Path) -> subprocess.Popen:
    program = PROGRAM.format(tests=str(ROOT / "tests"))
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _differ(out: Path, wanted: dict[str, str]) -> int:
    return int(any(not (out / file).is_file() or sha256(out / file) != found for file, found in wanted.items()))


def _done(out: Path) -> str:
    if not (out / "align.json").is_file():
        return "nothing done"
    return ", ".join(f"{name} {'done' if one.done else 'begun'}" for name, one in aligned_at(out).record.stages.items())


def _whole() -> list[Goal]:
    recipe, seconds = AlignRecipe(SMOLLM2, str(OUT), raw=str(RAW)), []
    shutil.rmtree(OUT, ignore_errors=True)
    for _ in range(2):
        start = time.monotonic()
        aligned = align_base(recipe, tell=lambda line: print(line, flush=True))
        seconds.append(time.monotonic() - start)
    if aligned.metrics is not None:
        print("\n".join(warnings_of(aligned.metrics)))
    return [
        Goal("minutes of a whole run, budget of minutes", seconds[0] / 60, "<= 30"),
        Goal("seconds of a second run", seconds[1], "<= 20"),
    ]
