"""`prosocial data build`: from a mixture to the files that copies, ARMs, judges and evaluations read."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import directory_beside, listed, progress_bar, read_text, sha256
from hf_prosocial.records import DATA, DataRecord, SourceUsed, WrittenFile

from .choose import chosen_rows, without_contradictions
from .fetch import found, rows_of
from .licences import licence_page
from .made import LONG_REPLY, Made, rank, words_of
from .mixture import Mixture, Text, Use, inputs_hash, mixture_file, read_mixture
from .registry import convert
from .split import Pairing, shared_texts, split

TRAIN = "preferences/train.jsonl"
DEV = "preferences/dev.jsonl"
COMPLETIONS = {"harmful": "harm/train.jsonl", "humane": "harm/benign.jsonl"}
_LEAST_PAIRS = 10


@dataclass
class _Building:
    """What is read, and what is left out, while a mixture is built."""

    mixture: Mixture
    beside: Path
    raw: Path | None
    rows: dict[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)

    def made(self, section: str, uses: Iterable[Use]) -> list[tuple[Use, Made]]:
        """The rows of a section, as its uses choose them."""
        counted = self.left_out.setdefault(section, Counter())
        rows = []
        for use in uses:
            names = use.files or [one.name for one in self.mixture.sources[use.source].files]
            try:
                made = convert(use.converter, {name: self.rows[name] for name in names}, use.options, self.beside)
            except ProsocialError as error:
                raise ProsocialError(f"{section}, {use.source}: {error}") from error
            rows += [(use, row) for row in chosen_rows(made, use, counted)]
        return rows


def build_data(out: str | Path, mixture: str | Path = "default", raw: str | Path | None = None) -> Path:
    """Build a mixture: preference pairs split by group, completions, benchmarks' prompts, labels and running text.

    The same mixture and files give the same bytes. A folder that was built from them already is left as it is.

    Args:
        out: the folder to make.
        mixture: one of this package's by name, or a file.
        raw: a folder with the sources' files, by their names; by default they are downloaded, and kept.

    Returns:
        The folder.

    Raises:
        OSError: a file that cannot be read or written, or something else stands at `out`.
        ProsocialError: a mixture that cannot be built: a source that moved or changed, a converter that does not fit,
            an objective without enough pairs, or pairs that no split keeps apart.
    """
    out, read, file = Path(out), read_mixture(mixture), mixture_file(mixture)
    if is_built(out, mixture):
        return out
    if (out / DATA).is_file():
        raise FileExistsError(
            f"{out} was built from another mixture or from other files than now; remove it to build anew, or build "
            "elsewhere"
        )
    building = _Building(read, file.parent, None if raw is None else Path(raw))
    _read_sources(building)
    with directory_beside(out) as work:
        rows = _all_rows(building)
        written = {name: _write_rows(work / name, own) for name, own in rows.items()}
        written |= {name: _write_text(work / name, building, text) for name, text in read.texts.items()}
        (work / "LICENSES.md").write_text(licence_page(read), encoding="utf-8")
        left_out = {name: dict(sorted(counts.items())) for name, counts in building.left_out.items() if counts}
        used = {name: SourceUsed(one.licence, one.about, one.redistribute) for name, one in read.sources.items()}
        sources = {name: dataclasses.replace(one, files=_origins(building, name)) for name, one in used.items()}
        DataRecord(file.stem, inputs_hash(mixture), sources, written, left_out).write(work / DATA)
    return out


def is_built(out: str | Path, mixture: str | Path = "default") -> bool:
    """Whether a folder holds what this mixture gives, with every file as it was written.

    Raises:
        ProsocialError: it was built, and a file of it was changed or is missing since.
    """
    record = Path(out) / DATA
    if not record.is_file():
        return False
    if DataRecord.read(record).inputs_hash != inputs_hash(mixture):
        return False
    check_unchanged(out)
    return True


def check_unchanged(folder: str | Path) -> None:
    """Compare a built folder's files with its record.

    Raises:
        OSError: no record.
        ProsocialError: a file of it was changed or is missing since it was built.
    """
    found = DataRecord.read(Path(folder) / DATA)
    changed = [name for name, one in found.files.items() if not _is(Path(folder) / name, one)]
    if changed:
        raise ProsocialError(
            f"{folder}: {listed(changed)} changed since it was built; remove the folder, or build elsewhere"
        )


def _is(path: Path, written: WrittenFile) -> bool:
    return path.is_file() and sha256(path) == written.sha256


def _read_sources(building: _Building) -> None:
    sources = {use.source for _, use in building.mixture.uses()}
    files = [one for name in sorted(sources) for one in building.mixture.sources[name].files]
    with progress_bar(len(files), "sources", "file") as bar:
        for one in files:
            building.rows[one.name] = rows_of(one, building.beside, building.raw)
            bar.update()


def _origins(building: _Building, source: str) -> dict[str, str]:
    """Of each file of a source, its address and what its content is known by."""
    files = building.mixture.sources[source].files
    return {one.name: f"{one.address} ({one.sha256 or one.revision or 'not pinned'})" for one in files}


def _all_rows(building: _Building) -> dict[str, list[dict[str, Any]]]:
    """Rows by the file that they are written to."""
    mixture = building.mixture
    tests = {name: building.made(name, uses) for name, uses in mixture.prompts.items()}
    asked = _Apart(frozenset(words_of(row.prompt[-1][1]) for rows in tests.values() for _, row in rows))
    training, held_out = _pairs(building, asked)
    kept_apart = asked.and_pairs(pair.row for pair in held_out)
    rows = {TRAIN: [_pair_row(pair) for pair in training], DEV: [_pair_row(pair) for pair in held_out]}
    for kind, uses in mixture.completions.items():
        made = _without(building, kind, building.made(kind, uses), kept_apart)
        rows[COMPLETIONS[kind]] = [_completion_row(use, row) for use, row in made]
    rows |= {name: [_prompt_row(use, row) for use, row in made] for name, made in tests.items()}
    for name, uses in mixture.training_prompts.items():
        made = _without(building, name, building.made(name, uses), kept_apart)
        rows[name] = [_prompt_row(use, row) for use, row in made]
    for name, uses in mixture.judged.items():
        rows[name] = [_judged_row(row) for _, row in building.made(name, uses)]
    empty = sorted(name for name, own in rows.items() if not own)
    if empty:
        raise ProsocialError(f"not one row is left for {listed(empty)}; none was made, or all were left out")
    return rows


@dataclass(frozen=True)
class _Apart:
    """What no training row may have.

    Attributes:
        asked: words of benchmarks' last messages; no message of a user has them.
        prompts: words of whole held-out prompts.
        replies: words of held-out replies of more than 40 characters.
    """

    asked: frozenset[str]
    prompts: frozenset[str] = frozenset()
    replies: frozenset[str] = frozenset()

    def and_pairs(self, rows: Iterable[Made]) -> "_Apart":
        """These, and the prompts and replies of held-out pairs."""
        rows = list(rows)
        replies = {words_of(reply) for row in rows for reply in row.replies if len(reply) > LONG_REPLY}
        return _Apart(self.asked, frozenset(row.prompt_key for row in rows), frozenset(replies))

    def fault(self, row: Made) -> str | None:
        """Why a row is left out."""
        if row.asked & self.asked:
            return "a benchmark's prompt"
        if row.prompt_key in self.prompts:
            return "a prompt that is held out"
        if self.replies & {words_of(reply) for reply in row.replies}:
            return "a reply that is held out"
        return None


def _pairs(building: _Building, asked: _Apart) -> tuple[list[Pairing], list[Pairing]]:
    pairs: list[Pairing] = []
    for objective, uses in building.mixture.objectives.items():
        made = _without(building, objective, building.made(objective, uses), asked)
        made = without_contradictions(made, building.left_out[objective])
        if len(made) < _LEAST_PAIRS:
            raise ProsocialError(
                f"{objective}: {len(made)} pairs, at least {_LEAST_PAIRS} are needed, to train on some and hold out "
                f"others{_counted(building.left_out[objective])}"
            )
        pairs += [Pairing(objective, use.source, row) for use, row in made]
    counts = Counter(pair.objective for pair in pairs)
    goals = {name: _goal(building.mixture, name, count) for name, count in counts.items()}
    training, held_out, short = split(pairs, goals)
    if short:
        building.left_out["held out"] = Counter({"a short reply that training has too": short})
    shared = shared_texts([pair.row for pair in training], [pair.row for pair in held_out])
    if any(shared.values()):
        raise ProsocialError(f"held-out texts stand in training: {shared}; this is a fault of the builder")
    return training, held_out


def _counted(left_out: Counter[str]) -> str:
    return "; left out: " + ", ".join(f"{count} for {why}" for why, count in left_out.items()) if left_out else ""


def _goal(mixture: Mixture, objective: str, count: int) -> int:
    """How many pairs to hold out: the share, at least the mixture's least, and never more than half."""
    return max(1, min(max(round(mixture.share(objective) * count), mixture.least_held_out), count // 2))


def _without(
    building: _Building, section: str, rows: Sequence[tuple[Use, Made]], apart: _Apart
) -> list[tuple[Use, Made]]:
    kept = []
    for use, row in rows:
        fault = apart.fault(row)
        if fault is None:
            kept.append((use, row))
        else:
            building.left_out[section][fault] += 1
    return kept


def _pair_row(pair: Pairing) -> dict[str, Any]:
    chosen, rejected = ([{"role": "assistant", "content": reply}] for reply in pair.row.replies)
    about = {"attribute": pair.objective, "source": pair.source, "group": pair.component}
    return about | {"prompt": pair.row.messages(), "chosen": chosen, "rejected": rejected}


def _completion_row(use: Use, row: Made) -> dict[str, Any]:
    completion = [{"role": "assistant", "content": row.replies[0]}]
    return {"source": use.source} | row.about | {"prompt": row.messages(), "completion": completion}


def _prompt_row(use: Use, row: Made) -> dict[str, Any]:
    return {"source": use.source} | row.about | {"prompt": row.messages()}


def _judged_row(row: Made) -> dict[str, Any]:
    return {"prompt": row.prompt[-1][1], "response": row.replies[0]} | row.about


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> WrittenFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Rows of all objectives and sources mixed, in an order that no run changes.
    lines = sorted((json.dumps(row, ensure_ascii=False) + "\n" for row in rows), key=rank)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return WrittenFile(sha256(path), len(rows), path.stat().st_size)


def _write_text(path: Path, building: _Building, text: Text) -> WrittenFile:
    (file,) = building.mixture.sources[text.source].files
    whole = read_text(found(file, building.beside, building.raw))
    part = whole[: text.characters]
    end = part.rfind("\n") + 1 or len(part)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(part if len(part) == len(whole) else part[:end], encoding="utf-8", newline="\n")
    return WrittenFile(sha256(path), 1, path.stat().st_size)
