"""`prosocial data show`: what a mixture names, and what a built folder holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import DATA, DataRecord

from .build import DEV, TRAIN, check_unchanged
from .files import read_rows
from .made import LONG_REPLY, Made, words_of
from .mixture import Mixture

_NEAR = 0.9
_CHARACTERS = 5


@dataclass(frozen=True)
class ObjectiveData:
    """Of one objective: pairs and groups to train on and held out, and the characters of a prompt with its reply.

    Attributes:
        train, held_out: pairs.
        train_groups, held_out_groups: groups among them.
        shortest, median, longest: characters of prompt and longer reply, of both splits.
        shared_prompts, shared_replies: held-out prompts, and replies of more than 40 characters, in training; 0.
        near: held-out prompts and replies of which 90 % of the letter sequences stand in one text of training.
    """

    train: int
    held_out: int
    train_groups: int
    held_out_groups: int
    shortest: int
    median: int
    longest: int
    shared_prompts: int
    shared_replies: int
    near: int


@dataclass(frozen=True)
class BuiltData:
    """What a built folder holds: its record, and each objective's figures, found anew in the files."""

    record: DataRecord
    objectives: dict[str, ObjectiveData]


def describe_data(folder: str | Path) -> BuiltData:
    """Read a built folder, and look for what training shares with what is held out, objectives taken together.

    Raises:
        OSError: a file is missing.
        ProsocialError: the folder was not built by `build_data`, or was changed since.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ProsocialError(f"{folder} is no folder; a mixture is shown by --mixture {folder}")
    if not (folder / DATA).is_file():
        raise ProsocialError(f"{folder} has no {DATA}: it was not built by `prosocial data build`")
    check_unchanged(folder)
    record = DataRecord.read(folder / DATA)
    train, dev = read_rows(folder / TRAIN), read_rows(folder / DEV)
    prompts = {_made(row).prompt_key for row in train}
    replies = {words_of(text) for row in train for text in _made(row).replies}
    found = {}
    for name in dict.fromkeys(row["attribute"] for row in train):
        own, held = ([_made(row) for row in rows if row["attribute"] == name] for rows in (train, dev))
        lengths = sorted(row.length for row in [*own, *held])
        asked, said = {row.prompt_key for row in held}, [text for row in held for text in row.replies]
        long_replies = {words_of(text) for text in said if len(text) > LONG_REPLY}
        found[name] = ObjectiveData(
            len(own),
            len(held),
            len({row.group for row in own}),
            len({row.group for row in held}),
            lengths[0],
            lengths[len(lengths) // 2],
            lengths[-1],
            len(asked & prompts),
            len(long_replies & replies),
            near_duplicates(sorted(asked | set(map(words_of, said))), sorted(prompts | replies)),
        )
    return BuiltData(record, dict(sorted(found.items())))


def near_duplicates(texts: Sequence[str], among: Sequence[str], share: float = _NEAR) -> int:
    """How many texts have a near one among others: cosine of their sets of five letters in a row, `share` or more."""
    from sklearn.feature_extraction.text import HashingVectorizer

    long_texts = [text for text in texts if len(text) > LONG_REPLY]
    others = [text for text in among if len(text) > LONG_REPLY]
    if not long_texts or not others:
        return 0
    shape: dict[str, Any] = {"analyzer": "char", "ngram_range": (_CHARACTERS, _CHARACTERS), "binary": True}
    vectors = HashingVectorizer(**shape, alternate_sign=False, lowercase=False)
    alike = vectors.transform(long_texts) @ vectors.transform(others).T
    return int((alike.max(axis=1).toarray() >= share).sum())


def mixture_summary(mixture: Mixture) -> list[tuple[str, str, str, str]]:
    """Each source of a mixture: its name, licence, how many files, and what it is used for."""
    used: dict[str, list[str]] = {name: [] for name in mixture.sources}
    for section, use in mixture.uses():
        used[use.source].append(section)
    for name, text in mixture.texts.items():
        used[text.source].append(name)
    handed_on = {True: "", False: " (not to be handed on)"}
    return [
        (name, one.licence + handed_on[one.redistribute], str(len(one.files)), ", ".join(dict.fromkeys(used[name])))
        for name, one in sorted(mixture.sources.items())
    ]


def _made(row: Mapping[str, Any]) -> Made:
    """A written pair as the builder had it, so that both compare texts alike."""
    prompt = tuple((one["role"], one["content"]) for one in row["prompt"])
    return Made(row["group"], prompt, (row["chosen"][-1]["content"], row["rejected"][-1]["content"]))
