"""`prosocial align`: the stages of a base, and the record of what was made."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState

from hf_prosocial.data import mixture_file, read_mixture
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import one_writer, sha256
from hf_prosocial.models import preferred_device
from hf_prosocial.records import ALIGN, METRICS, RECORDED_PACKAGES, AlignRecord, Metrics

from .base import check_base, check_guide_base, machine_for
from .cost import Pace, stage_tokens
from .evidence import make_cards, make_evaluation
from .fingerprint import base_fingerprint
from .folder import GATE, HARMFUL, HUMANE, DataFolder
from .ledger import Ledger, Stage, run_stages
from .recipe import STAGES, AlignRecipe
from .stages import Work, make_arm, make_copies, make_data, make_gate, make_safe, make_vector

_MADE = {
    "safe base": "safe-base",
    "vector": "harm-vector",
    "gated vector": "gated-harm-vector",
    "arm": "arm",
    "report": "report",
    "cards": "cards",
}


@dataclass(frozen=True)
class Aligned:
    """What was made.

    Attributes:
        out: the folder.
        record: its align.json.
        metrics: of the evaluation, where there was one.
        writes: whether this process does; of several that train together, one.
    """

    out: Path
    record: AlignRecord
    metrics: Metrics | None
    writes: bool = True


def align_base(
    recipe: AlignRecipe,
    *,
    only: Sequence[str] = (),
    start: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Aligned:
    """Make a safe checkpoint, a gated vector, an ARM, an evaluation and cards of a base; what is done is left as it is.

    Killed, it goes on where it was: call it again. With another setting, what follows from it is made again, and
    nothing else. The harmful copy is removed once the vectors stand.

    Args:
        recipe: what to make.
        only: names of `STAGES` to run; all by default.
        start: a stage to run again, and all after it.
        tell: shows a line to the user.

    Raises:
        OSError: no such base or file, or a full disk.
        ProsocialError: a base that cannot be aligned, data that cannot be built, or whatever a stage raises.
        FileExistsError: another process works in the folder.
    """
    _check_names(only, start)
    check_base(recipe.base)
    if recipe.guide_base is not None:
        check_guide_base(recipe.base, recipe.guide_base)
    state, out = PartialState(cpu=preferred_device().type == "cpu", timeout=timedelta(days=7)), Path(recipe.out)
    with one_writer(out, writes=state.is_main_process):
        machine = machine_for(recipe.guide_base or recipe.base, state.num_processes)
        data = DataFolder(Path(recipe.data) if recipe.data else out / "data")
        work = Work(recipe, recipe.work(), data, machine, out)
        tell(f"{recipe.base}: {machine}")
        stages = stages_of(work)
        settings = {**asdict(recipe), "machine": asdict(machine)}
        versions = {name: version(name) for name in RECORDED_PACKAGES}
        ledger = Ledger.of(out, recipe.base, settings, versions, writes=state.is_main_process)
        names = [stage.name for stage in stages]
        redo = names[names.index(start) :] if start in names else []
        pace = Pace(recipe.base, getattr(torch, machine.dtype))
        run_stages(stages, ledger, list(only) or names, redo, tell, lambda: stage_tokens(work.effort, data), pace)
        made = {name: path for name, path in _MADE.items() if (out / path).is_dir()}
        ledger.record = replace(ledger.record, made=made)
        ledger.write()
    state.wait_for_everyone()
    return replace(aligned_at(out), writes=state.is_main_process)


def aligned_at(folder: str | Path) -> Aligned:
    """What stands in a folder.

    Raises:
        FileNotFoundError: nothing was aligned there.
        ProsocialError: align.json is none.
    """
    out = Path(folder)
    if not (out / ALIGN).is_file():
        raise FileNotFoundError(f"{out} holds no {ALIGN}; `prosocial align BASE --out {out}` makes it")
    metrics = out / "report" / METRICS
    return Aligned(out, AlignRecord.read(out / ALIGN), Metrics.read(metrics) if metrics.is_file() else None)


def stages_of(work: Work) -> list[Stage]:
    """The stages that the data allow, in order."""
    recipe, effort = work.recipe, asdict(work.effort)
    base = {"base": recipe.base, "weights": base_fingerprint(recipe.base)}
    trained = {"seed": recipe.seed, "dtype": work.machine.dtype}
    names = _files_of_data(work)
    stages = [
        Stage(
            "data",
            "build the data" if recipe.data is None else "take the data",
            _data_settings(work),
            (),
            ("data",) if recipe.data is None else (),
            lambda: make_data(work),
        )
    ]
    if {HARMFUL, HUMANE} <= names:
        stages += _vector_stages(work, base | trained, effort, gated=set(GATE) <= names)
    guide = {"base": work.guide_base, "weights": base_fingerprint(work.guide_base)}
    amounts = {name: effort[name] for name in ("pairs", "held_out_pairs", "save_steps")}
    stages.append(
        Stage(
            "arm",
            "train the ARM on preference pairs",
            guide | trained | amounts,
            ("data",),
            ("arm", "pairs"),
            lambda: make_arm(work),
            together=True,
        )
    )
    before = tuple(stage.name for stage in stages)
    measured = {name: effort[name] for name in ("prompts", "new_tokens", "text_tokens")} | {"judges": recipe.judges}
    stages.append(
        Stage(
            "evaluation",
            "compare the base with what was made of it",
            base | measured | {"seed": recipe.seed},
            before,
            ("report",),
            lambda: make_evaluation(work),
        )
    )
    stages.append(Stage("cards", "write cards", {}, ("evaluation",), ("cards",), lambda: make_cards(work)))
    return stages


def _vector_stages(work: Work, settings: dict, effort: dict, gated: bool) -> list[Stage]:
    """The copies, and the vectors that are taken from them."""
    swept = {name: list(effort[name]) for name in ("densities", "scales")}
    swept |= {name: effort[name] for name in ("sweep_tokens", "sweep_prompts")}
    stages = [
        Stage(
            "copies",
            f"fine-tune a harmful and a humane copy, {work.effort.copy_steps} steps each",
            settings | {name: effort[name] for name in ("copy_steps", "save_steps")},
            ("data",),
            ("copies",),
            lambda: make_copies(work),
            together=True,
            passing=() if work.recipe.keep_harmful_copy else ("copies/harmful",),
            until=("vector", "safe", *(("gate",) if gated else ())),
        ),
        Stage(
            "vector",
            "find the harm vector, and how much of it to subtract",
            swept,
            ("copies",),
            ("sweep", "harm-vector"),
            lambda: make_vector(work),
        ),
        Stage("safe", "write the safe checkpoint", {}, ("vector",), ("safe-base",), lambda: make_safe(work)),
    ]
    if gated:
        gate = {"seed": work.recipe.seed}
        run = Stage("gate", "train the gate", gate, ("copies", "data"), ("gated-harm-vector",), lambda: make_gate(work))
        stages.append(run)
    return stages


def _files_of_data(work: Work) -> set[str]:
    """What the data hold, or will."""
    if work.recipe.data is not None:
        if not work.data.has("preferences/train.jsonl", "preferences/dev.jsonl"):
            raise ProsocialError(f"{work.data.path} holds no preferences; `prosocial data build` makes such a folder")
        return {name for name in (HARMFUL, HUMANE, *GATE) if work.data.has(name)}
    mixture = read_mixture(work.recipe.mixture)
    found = set(mixture.written())
    return found | ({HARMFUL, HUMANE} if {"harmful", "humane"} <= set(mixture.completions) else set())


def _data_settings(work: Work) -> dict[str, str]:
    if work.recipe.data is not None:
        return {"folder": work.data.fingerprint()}
    return {"mixture": sha256(mixture_file(work.recipe.mixture))}


def _check_names(only: Sequence[str], start: str | None) -> None:
    unknown = sorted({*only, *([] if start is None else [start])} - set(STAGES))
    if unknown:
        raise ProsocialError(f"no stage {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
