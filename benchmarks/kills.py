"""Killed at any moment: nothing broken stands at its place, and nothing is left over after the next run."""

import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import yaml

from benchmarks.goals import Goal, report
from hf_prosocial import OBJECTIVES, HarmVector
from hf_prosocial.arm import train_arm_from
from hf_prosocial.evaluation import evaluate, read_config
from hf_prosocial.hub import write_arm_card
from hf_prosocial.io import progress_bar, sha256
from hf_prosocial.records import Metrics

ROOT = Path(__file__).parent.parent
SEED = 0
KILLS = {"subtract": 300, "overwrite": 300, "extract": 200, "train": 100, "evaluate": 100}
MILD = ("i lost my cat", "help me", "i am sad", "what is it", "i am late", "tell me")


@dataclass(frozen=True)
class Work:
    """What is killed, and how its result is looked at.

    Attributes:
        place: the folder that it works in.
        before: puts the folder in order for a new round.
        run: the work, which is also its own next run; it crosses to another process.
        whole: what stands there, as something that can be compared; None where nothing does.
        standing: what may stand there after a kill beside the finished result.
    """

    place: Path
    before: Callable[[], object]
    run: Callable[[], object]
    whole: Callable[[], object]
    standing: tuple[object, ...] = (None,)


def run() -> bool:
    sys.path.insert(0, str(ROOT / "tests"))
    # Children are forks of a process that has read the modules and done nothing, so that no thread of it holds a lock.
    multiprocessing.set_forkserver_preload([__name__, "hf_prosocial.arm.trainer", "transformers.trainer"])
    drawn, counts = random.Random(SEED), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        for kind, work in _works(Path(name)).items():
            _kill_all(kind, work, drawn, counts)
    total = sum(KILLS.values())
    for kind, count in sorted(counts.items()):
        print(f"{kind}: {count}")
    goals = [
        Goal(f"broken after a kill, of {total} (seed {SEED})", counts["broken"], "<= 0"),
        Goal("next runs that failed or gave another result", counts["wrong"], "<= 0"),
        Goal("names left over after the next run", counts["left"], "<= 0"),
    ]
    return report("kills", goals)


def _kill_all(kind: str, work: Work, drawn: random.Random, counts: Counter[str]) -> None:
    seconds = min(_seconds(kind, work) for _ in range(3))
    expected, names = work.whole(), _names(work.place)
    with progress_bar(KILLS[kind], f"{kind} ({seconds:.2f} s)", "kill") as progress:
        while counts[kind] < KILLS[kind]:
            work.before()
            if _in_child(work.run, drawn.uniform(0, seconds)) is not None:
                counts[f"{kind}, ended before it was killed"] += 1
                continue
            counts[kind] += 1
            found = work.whole()
            if found != expected and found not in work.standing:
                counts["broken"] += 1
                print(f"{kind}: broken, {found}", file=sys.stderr)
            again = _in_child(work.run)
            # What was finished before the kill is refused to be written over, and stands.
            if (again != 0 and found != expected) or work.whole() != expected:
                counts["wrong"] += 1
                print(f"{kind}: the next run ended with {again}", file=sys.stderr)
            left = _names(work.place) ^ names
            counts["left"] += len(left)
            if left:
                print(f"{kind}: {sorted(left)}", file=sys.stderr)
            progress.update()


def _seconds(kind: str, work: Work) -> float:
    work.before()
    begin = time.perf_counter()
    if _in_child(work.run) != 0:
        raise RuntimeError(f"{kind} does not run; KILLS_LOG=file keeps what it says")
    return time.perf_counter() - begin


def _in_child(run: Callable[[], object], seconds: float | None = None) -> int | None:
    """Run in a process of its own; killed after so many seconds. How it ended; None where it was killed."""
    child = multiprocessing.get_context("forkserver").Process(target=_quietly, args=(run,))
    child.start()
    child.join(timeout=seconds)
    if child.is_alive():
        child.kill()
        child.join()
    return None if child.exitcode is not None and child.exitcode < 0 else child.exitcode


def _quietly(run: Callable[[], object]) -> None:
    log = os.open(os.environ.get("KILLS_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    run()


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _hashes(folder: Path) -> Mapping[str, str] | None:
    return {path.name: sha256(path) for path in folder.iterdir()} if folder.is_dir() else None


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _works(folder: Path) -> dict[str, Work]:
    from support.checkpoints import save_copies
    from support.models import random_arm, tiny_tokenizer

    base, harmful = save_copies(folder, tiny_tokenizer())
    HarmVector.extract(base, harmful, 0.2, out=folder / "vector.safetensors").subtract(base, 0.5, folder / "old")
    random_arm("llama", seed=2).save_pretrained(str(folder / "arm"))
    out = folder / "out"
    safe, empty = partial(_hashes, out / "safe"), partial(_emptied, out)
    old = (_hashes(folder / "old"),)
    return {
        "subtract": Work(out, empty, partial(_subtract, folder), safe),
        "overwrite": Work(out, partial(_with_old, folder), partial(_subtract, folder, overwrite=True), safe, old),
        "extract": Work(out, empty, partial(_extract, folder), partial(_hash, out / "vector.safetensors")),
        "train": _training(folder, base),
        "evaluate": _evaluation(folder, base),
    }


def _subtract(folder: Path, *, overwrite: bool = False) -> None:
    vector = HarmVector.from_pretrained(folder / "vector.safetensors")
    vector.subtract(folder / "base", 1.0, folder / "out" / "safe", overwrite=overwrite)


def _with_old(folder: Path) -> None:
    shutil.copytree(folder / "old", _emptied(folder / "out") / "safe")


def _extract(folder: Path) -> None:
    HarmVector.extract(folder / "base", folder / "harmful", 0.2, out=folder / "out" / "vector.safetensors")


def _training(folder: Path, base: Path) -> Work:
    from support.rows import rows

    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows(OBJECTIVES, 12)))
    out = folder / "out"
    recipe = {
        "train_data": str(folder / "pairs.jsonl"),
        "base": str(base),
        "output_dir": str(out / "arm"),
        "target_modules": ["q_proj"],
        "max_steps": 3,
        "save_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(recipe))
    adapter = out / "arm" / "adapter_model.safetensors"
    return Work(out, partial(_emptied, out), partial(_train, folder / "train.yaml"), partial(_hash, adapter))


def _train(recipe: Path) -> None:
    directory = train_arm_from(["--config", str(recipe), "--resume"])
    if directory is not None:
        write_arm_card(directory)


def _evaluation(folder: Path, base: Path) -> Work:
    from support.small_evaluation import write_config

    out, recipe = folder / "out", write_config(folder, (base, folder / "arm"))
    work = partial(_evaluate, recipe, out / "report")
    return Work(out, partial(_emptied, out), work, partial(_measured, out / "report" / "metrics.json"))


def _evaluate(recipe: Path, report: Path) -> None:
    evaluate(read_config(recipe), report)


def _hash(file: Path) -> str | None:
    return sha256(file) if file.is_file() else None


def _measured(file: Path) -> str | None:
    return repr(Metrics.read(file).figures) if file.is_file() else None
