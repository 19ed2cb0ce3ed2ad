"""Running stages in order: what is done stays, what is not is told and done."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from accelerate import PartialState

from hf_prosocial.errors import ProsocialError

from .cost import Pace
from .ledger import Ledger, Stage, stage_keys


def run_stages(
    stages: Sequence[Stage],
    ledger: Ledger,
    asked: Sequence[str],
    redo: Sequence[str],
    tell: Callable[[str], None],
    costs: Callable[[], Mapping[str, float]],
    pace: Pace,
) -> None:
    """Run what is not done, in order; of each stage, say before what it will take.

    Args:
        stages: all of them.
        ledger: of the folder.
        asked: the stages to run; the others must be done already where these follow them.
        redo: stages to run again whatever stands there.
        tell: shows a line to the user.
        costs: the work of each stage, asked for once the data are there.
        pace: how much of it a second does.

    Raises:
        ProsocialError: a stage that is needed is neither done nor asked for.
    """
    ledger.keys = stage_keys(stages)
    for name in ledger.keep_only(stages):
        tell(f"{name}: removed, for there is nothing to make it from any more")
    done = _done(stages, ledger, redo)
    together()  # Before anything changes what others still look at.
    ledger.tell_made(stages, done)
    for number, stage in enumerate(stages, start=1):
        where = f"[{number}/{len(stages)}] {stage.name}"
        if stage.name in done:
            tell(f"{where}: done before. {ledger.record.stages[stage.name].said}")
        elif stage.name in asked:
            missing = [name for name in stage.follows if name not in done]
            if missing:
                raise ProsocialError(f"{stage.name} follows {', '.join(missing)}, which is not done; ask for it too")
            _run(stage, ledger, where, stage.name in redo, tell, costs, pace)
            done.append(stage.name)
            ledger.tell_made(stages, done)
        elif stage.name in ledger.record.stages:
            tell(f"{where}: NOT done with these settings, and not asked for")
        _drop_passing(stages, ledger, done)
    _tell_of_passing(stages, ledger, tell)


def _run(
    stage: Stage,
    ledger: Ledger,
    where: str,
    anew: bool,
    tell: Callable[[str], None],
    costs: Callable[[], Mapping[str, float]],
    pace: Pace,
) -> None:
    work = 0.0 if stage.name == "data" else costs().get(stage.name, 0.0)
    again = ledger.why_again(stage)
    if again:
        tell(f"{where}: again, for {again}")
    tell(f"{where}: {stage.does}" + (f" (about {_duration(pace.seconds(work))})" if work else ""))
    if anew and stage.name in ledger.record.stages:
        ledger.clear(stage.outputs)
    ledger.begin(stage)
    together()
    start = time.monotonic()
    said = stage.run() if ledger.writes or stage.together else ""
    together()
    seconds = time.monotonic() - start
    pace.took(work, seconds)
    ledger.end(stage, seconds, said)
    tell(f"{where}: {said} ({_duration(seconds)})")


def _drop_passing(stages: Sequence[Stage], ledger: Ledger, done: Collection[str]) -> None:
    for one in stages:
        if one.name in done and one.passing and set(one.until) <= set(done):
            ledger.clear(one.passing)


def _tell_of_passing(stages: Sequence[Stage], ledger: Ledger, tell: Callable[[str], None]) -> None:
    for one in stages:
        for path in (ledger.out / name for name in one.passing):
            if path.exists():
                tell(f"{path} may comply with harmful requests, and stays until {', '.join(one.until)} are done")


def together() -> None:
    """Wait for the other processes; asked for anew, since trainings begin this state again."""
    PartialState().wait_for_everyone()


def _done(stages: Sequence[Stage], ledger: Ledger, redo: Sequence[str]) -> list[str]:
    """Stages that need not run. One whose passing outputs are gone runs again where a stage that reads them must."""
    done: list[str] = []
    for stage in reversed(stages):
        if stage.name not in redo and ledger.is_done(stage, done):
            done.append(stage.name)
    return done


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
