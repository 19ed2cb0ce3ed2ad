"""Which stages are done, in align.json; so that a second run does nothing and a changed setting redoes what follows."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import ALIGN, AlignRecord, StageRecord

from .fingerprint import known_by

_LONGEST_TOLD = 100
"""Characters of a changed setting's two values; longer ones are hashes, or lists that nobody compares by eye."""


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

    def why_again(self, stage: Stage) -> str | None:
        """Why a stage that was begun or done before must run; None where it was not, or only asked for again."""
        found = self.record.stages.get(stage.name)
        if found is None:
            return None
        if found.key != self.keys[stage.name]:
            now = _told(stage.settings)
            changed = sorted(name for name in {*found.settings, *now} if found.settings.get(name) != now.get(name))
            said = [_changed(name, found.settings.get(name), now.get(name)) for name in changed]
            return f"changed since: {', '.join(said)}" if said else f"changed since: {' or '.join(stage.follows)}"
        if not found.done:
            return "it was stopped before its end"
        for path, known in found.files.items():
            if not (self.out / path).is_file():
                return f"{path} is gone"
            if known_by(self.out / path) != known:
                return f"{path} is not as it was written"
        return None

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
        record = StageRecord(self.keys[stage.name], done=False, outputs=stage.outputs, settings=_told(stage.settings))
        self._put(stage, record)

    def end(self, stage: Stage, seconds: float, said: str) -> None:
        """Record what a stage wrote."""
        files = {
            path.relative_to(self.out).as_posix(): known_by(path)
            for name in stage.outputs
            for path in _files_of(self.out / name)
        }
        key, settings = self.keys[stage.name], _told(stage.settings)
        record = StageRecord(key, True, round(seconds, 1), stage.outputs, files, said, settings)
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


def _told(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value, sort_keys=True, default=str) for name, value in settings.items()}


def _changed(name: str, before: str | None, now: str | None) -> str:
    """A setting, with both values where a reader would know them again."""
    if before is None or now is None or len(before) + len(now) > _LONGEST_TOLD:
        return name
    return f"{name} (was {before}, is {now})"


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
