"""`prosocial align`: the stages of a base, and the record of what was made."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import one_writer, validated
from hf_prosocial.models import preferred_device
from hf_prosocial.records import ALIGN, METRICS, RECORDED_PACKAGES, AlignRecord, Metrics

from .base import Machine, check_base, check_guide_base, machine_for
from .cost import Pace, stage_tokens
from .execute import run_stages, together
from .fingerprint import base_fingerprint
from .folder import DataFolder
from .ledger import Ledger
from .plan import stages_of
from .recipe import STAGES, AlignRecipe
from .stages import Work


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
    effort = recipe.work()
    check_base(recipe.base)
    if recipe.guide_base is not None:
        check_guide_base(recipe.base, recipe.guide_base)
    state, out = PartialState(cpu=preferred_device().type == "cpu", timeout=timedelta(days=7)), Path(recipe.out)
    with one_writer(out, writes=state.is_main_process):
        machine = machine_for(recipe.guide_base or recipe.base, state.num_processes, _machine_before(out))
        data = DataFolder(Path(recipe.data) if recipe.data else out / "data")
        known = base_fingerprint(recipe.base)
        guide_known = known if recipe.guide_base is None else base_fingerprint(recipe.guide_base)
        work = Work(recipe, effort, data, machine, out, known, guide_known)
        tell(f"{recipe.base}: {machine}")
        stages = stages_of(work)
        settings = {**asdict(recipe), "machine": asdict(machine), "weights": known}
        versions = {name: version(name) for name in RECORDED_PACKAGES}
        # Whole, so that the folder can be talked to from elsewhere.
        base = str(Path(recipe.base).resolve()) if Path(recipe.base).exists() else recipe.base
        ledger = Ledger.of(out, base, settings, versions, writes=state.is_main_process)
        names = [stage.name for stage in stages]
        redo = names[names.index(start) :] if start in names else []
        pace = Pace(recipe.base, getattr(torch, machine.dtype))
        run_stages(stages, ledger, list(only) or names, redo, tell, cache(lambda: stage_tokens(effort, data)), pace)
    together()
    return replace(aligned_at(out), writes=state.is_main_process)


def _machine_before(out: Path) -> Machine | None:
    """As the folder's last run found it: how many rows go together decides the last bits of what is trained."""
    if not (out / ALIGN).is_file():
        return None
    return validated(Machine, AlignRecord.read(out / ALIGN).settings["machine"], str(out / ALIGN))


def aligned_at(folder: str | Path) -> Aligned:
    """What stands in a folder.

    Raises:
        FileNotFoundError: nothing was aligned there.
        ProsocialError: align.json is none.
    """
    out = Path(folder)
    if not (out / ALIGN).is_file():
        raise FileNotFoundError(f"{out} holds no {ALIGN}; `prosocial align BASE --out {out}` makes it")
    record, metrics = AlignRecord.read(out / ALIGN), out / "report" / METRICS
    told = "report" in record.made and metrics.is_file()
    return Aligned(out, record, Metrics.read(metrics) if told else None)


def _check_names(only: Sequence[str], start: str | None) -> None:
    unknown = sorted({*only, *([] if start is None else [start])} - set(STAGES))
    if unknown:
        raise ProsocialError(f"no stage {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
