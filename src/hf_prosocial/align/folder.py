"""A folder of built data: which of the files that stages read are in it."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hf_prosocial.data import COMPLETIONS, TRAIN, read_prompts, read_rows
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import sha256, write_text
from hf_prosocial.preference import OBJECTIVES

HARMFUL, HUMANE = COMPLETIONS["harmful"], COMPLETIONS["humane"]
GATE = ("gate/harmful.jsonl", "gate/harmless.jsonl", "gate/people.jsonl")


@dataclass(frozen=True)
class DataFolder:
    """Built data.

    Attributes:
        path: the folder.
    """

    path: Path

    def file(self, name: str) -> str:
        """A file in it, as a path."""
        return str(self.path / name)

    def has(self, *names: str) -> bool:
        """Whether all of these files are there."""
        return all((self.path / name).is_file() for name in names)

    @property
    def text(self) -> str | None:
        """Its running text, where there is one."""
        found = sorted((self.path / "capability").glob("*.txt"))
        return str(found[0]) if found else None

    @property
    def objectives(self) -> list[str]:
        """Of its pairs, in the order of the package's where they are those."""
        found = dict.fromkeys(row["attribute"] for row in read_rows(self.path / TRAIN))
        return [name for name in OBJECTIVES if name in found] + sorted(set(found) - set(OBJECTIVES))

    def benchmarks(self) -> dict[str, str]:
        """What is measured on each file of prompts, by the file's path: harm, over_refusal, or rewards.

        Raises:
            ProsocialError: labels other than safe and unsafe, or rows without one among rows with one.
        """
        found = {}
        for file in sorted((self.path / "safety").glob("*.jsonl")):
            labels = {prompt.label for prompt in read_prompts(file)}
            if labels != {None} and not labels <= {"safe", "unsafe"}:
                raise ProsocialError(
                    f"{file}: prompts are labelled safe or unsafe, all of them or none; found "
                    f"{sorted(map(str, labels))}"
                )
            found[str(file)] = "over_refusal" if "safe" in labels else "harm"
        return found | {str(file): "rewards" for file in sorted((self.path / "support").glob("*.jsonl"))}

    def rows(self, name: str) -> int:
        """Rows of one of its files."""
        return len(read_rows(self.path / name))

    def count(self, file: str) -> int:
        """Prompts in a file of them."""
        return len(read_prompts(file))

    def fingerprint(self) -> str:
        """SHA-256 over all files: names and contents."""
        files = sorted(file for file in self.path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(self.path).as_posix()} {sha256(file)}" for file in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_share(source: str, target: Path, count: int | None) -> int:
    """Write so many of a file's pairs, the first ones of each objective; every objective keeps half an even share.

    Args:
        source: JSON lines of pairs, in an order without meaning.
        target: where to.
        count: how many; None is all.

    Returns:
        How many were written.

    Raises:
        ProsocialError: no pairs.
    """
    rows = read_rows(Path(source))
    if not rows:
        raise ProsocialError(f"{source} holds no pairs")
    sizes = Counter(row["attribute"] for row in rows)
    count = len(rows) if count is None else min(count, len(rows))
    most = {name: max(round(count * size / len(rows)), count // (2 * len(sizes)), 1) for name, size in sizes.items()}
    taken: Counter[str] = Counter()
    kept = []
    for row in rows:
        if taken[row["attribute"]] < most[row["attribute"]]:
            taken[row["attribute"]] += 1
            kept.append(row)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    return len(kept)
