"""`prosocial data show`: what a mixture names, and what a built folder holds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows
from hf_prosocial.records import DATA, DataRecord

from .build import DEV, TRAIN, check_unchanged
from .made import LONG_REPLY, words_of
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
    train, dev = _rows(folder / TRAIN), _rows(folder / DEV)
    prompts = {_prompt_words(row) for row in train}
    replies = {words_of(text) for row in train for text in _replies(row)}
    found = {}
    for name in dict.fromkeys(row["attribute"] for row in train):
        own, held = ([row for row in rows if row["attribute"] == name] for rows in (train, dev))
        lengths = sorted(_length(row) for row in [*own, *held])
        texts = {_prompt_words(row) for row in held} | {words_of(text) for row in held for text in _replies(row)}
        long_replies = {words_of(text) for row in held for text in _replies(row) if len(text) > LONG_REPLY}
        found[name] = ObjectiveData(
            len(own),
            len(held),
            len({row["group"] for row in own}),
            len({row["group"] for row in held}),
            lengths[0],
            lengths[len(lengths) // 2],
            lengths[-1],
            len({_prompt_words(row) for row in held} & prompts),
            len(long_replies & replies),
            near_duplicates(sorted(texts), sorted(prompts | replies)),
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


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) if isinstance(row, str) else row for _, row in json_rows(path)]


def _texts(messages: Iterable[Mapping[str, str]]) -> list[str]:
    return [one["content"] for one in messages]


def _prompt_words(row: Mapping[str, Any]) -> str:
    return " / ".join(map(words_of, _texts(row["prompt"])))


def _replies(row: Mapping[str, Any]) -> list[str]:
    return [*_texts(row["chosen"]), *_texts(row["rejected"])]


def _length(row: Mapping[str, Any]) -> int:
    return sum(map(len, _texts(row["prompt"]))) + max(map(len, _replies(row)))
