"""Which stages are done, in align.json; so that a second run does nothing and a changed setting redoes what follows."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import ALIGN, AlignRecord, StageRecord

from .cost import Pace
from .fingerprint import known_by


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of `STAGES`.
        does: what is told before it starts.
        settings: all that it follows from beside other stages.
        follows: the stages before it that it reads.
        outputs: paths in the folder that are its own.
        run: does it, and says what it found.
        together: whether all processes of a training run it.
        makes: what it gives, by what that is, as paths.
        resumes: whether, begun with the same settings and killed, it goes on from what stands there.
        passing: outputs that are removed once the stages `until` are done.
        until: those stages.
    """

    name: str
    does: str
    settings: Mapping[str, Any]
    follows: tuple[str, ...]
    outputs: tuple[str, ...]
    run: Callable[[], str]
    together: bool = False
    makes: Mapping[str, str] = field(default_factory=dict)
    resumes: bool = False
    passing: tuple[str, ...] = ()
    until: tuple[str, ...] = ()


def stage_keys(stages: Sequence[Stage]) -> dict[str, str]:
    """Of each stage, the hash of its settings and of the keys of what it follows."""
    keys: dict[str, str] = {}
    for stage in stages:
        content = {"stage": stage.name, "settings": dict(stage.settings)}
        content["follows"] = {name: keys[name] for name in stage.follows}
        keys[stage.name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return keys


@dataclass
class Ledger:
    """The record of a folder, read and written.

    Attributes:
        out: the folder.
        record: as it stands.
        writes: whether this process does; of several that train together, one.
        keys: of the stages.
    """

    out: Path
    record: AlignRecord
    writes: bool = True
    keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, out: Path, base: str, settings: dict[str, Any], versions: dict[str, str], *, writes: bool = True
    ) -> "Ledger":
        """The folder's, or a new one.

        Raises:
            ProsocialError: the folder is of another base: neither its name nor its weights are the same.
        """
        file = out / ALIGN
        if not file.is_file():
            return cls(out, AlignRecord(base, settings, versions=versions), writes)
        record = AlignRecord.read(file)
        if record.base != base and record.settings.get("weights") != settings["weights"]:
            raise ProsocialError(f"{out} is of {record.base}, not of {base}; choose another folder")
        return cls(out, replace(record, base=base, settings=settings, versions=versions), writes)

    def is_done(self, stage: Stage, finished: Sequence[str] = ()) -> bool:
        """Whether a stage ended with these settings, and what it wrote is there, unchanged.

        Args:
            stage: which.
            finished: stages that need its passing outputs no more.
        """
        found = self.record.stages.get(stage.name)
        if found is None or not found.done or found.key != self.keys[stage.name]:
            return False
        gone = stage.passing if stage.passing and set(stage.until) <= set(finished) else ()
        needed = {path: known for path, known in found.files.items() if not _within(path, gone)}
        return all((self.out / path).is_file() and known_by(self.out / path) == known for path, known in needed.items())

    def begin(self, stage: Stage) -> None:
        """Make room: what was begun with the same settings stays where the stage can go on from it.

        Raises:
            FileExistsError: something stands there that no stage of this folder made.
        """
        found = self.record.stages.get(stage.name)
        if found is None:
            for name in stage.outputs:
                if self.writes and (self.out / name).exists():
                    raise FileExistsError(
                        f"{self.out / name} stands there, and {ALIGN} does not tell of it; choose another --out, or "
                        "move it away"
                    )
        elif found.key != self.keys[stage.name] or not stage.resumes:
            self.clear(stage.outputs)
        self._put(stage, StageRecord(self.keys[stage.name], done=False, outputs=stage.outputs))

    def end(self, stage: Stage, seconds: float, said: str) -> None:
        """Record what a stage wrote."""
        files = {
            path.relative_to(self.out).as_posix(): known_by(path)
            for name in stage.outputs
            for path in _files_of(self.out / name)
        }
        record = StageRecord(self.keys[stage.name], True, round(seconds, 1), stage.outputs, files, said)
        self._put(stage, record)

    def keep_only(self, stages: Sequence[Stage]) -> list[str]:
        """Remove what stages made that are none of these any more; their names."""
        names = {stage.name for stage in stages}
        strangers = [name for name in self.record.stages if name not in names]
        for name in strangers:
            self.clear(self.record.stages[name].outputs)
        left = {name: one for name, one in self.record.stages.items() if name in names}
        self.record = replace(self.record, stages=left)
        return strangers

    def tell_made(self, stages: Sequence[Stage], done: Collection[str]) -> None:
        """Record what stands there of the stages that are done."""
        made = {
            what: path
            for stage in stages
            if stage.name in done
            for what, path in stage.makes.items()
            if (self.out / path).is_dir()
        }
        self.record = replace(self.record, made=made)
        self.write()

    def clear(self, names: Sequence[str]) -> None:
        """Remove what stands at these paths in the folder."""
        for name in names if self.writes else ():
            _remove(self.out / name)

    def write(self) -> None:
        """Write align.json."""
        if self.writes:
            self.record.write(self.out / ALIGN)

    def _put(self, stage: Stage, record: StageRecord) -> None:
        made = {what: path for what, path in self.record.made.items() if what not in stage.makes}
        self.record = replace(self.record, stages=self.record.stages | {stage.name: record}, made=made)
        self.write()


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


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file() and not _is_checkpoint(one.relative_to(path)))


def _is_checkpoint(path: Path) -> bool:
    """Of a training on its way; not what it ends with."""
    return any(part.startswith("checkpoint-") for part in path.parts)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
