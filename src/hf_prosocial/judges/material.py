"""Which data the embedded judges are trained on, read into features."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_prosocial.data import MalformedRowError, Prompt, are_messages, conversation_of, row_of
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows

from .features import FeatureReader
from .labels import FULL_COMPLIANCE, FULL_REFUSAL, HARM, HARMFUL, PARTIAL_REFUSAL, REFUSAL, SAFE
from .training import Labelled


@dataclass(frozen=True)
class PairRows:
    """Preference pairs: prompts, both replies, each pair's objective as an index, and its group."""

    prompts: list[Prompt]
    chosen: list[str]
    rejected: list[str]
    objective: np.ndarray
    groups: list[str]


def read_pair_rows(paths: Sequence[str | Path], objectives: Sequence[str]) -> PairRows:
    """Read JSON lines of `attribute`, `prompt`, `chosen` and `rejected`, as `prosocial arm train` does.

    A row's `group` says which rows are held out together; without one, it is its prompt.

    Raises:
        ValueError: a row that is none, by its line.
    """
    found = PairRows([], [], [], np.empty(0, dtype=np.int64), [])
    labels = []
    rows = [(path, *one) for path in paths for one in _rows(path, ("attribute", "prompt", "chosen", "rejected"))]
    for path, line, row in rows:
        if row["attribute"] not in objectives:
            raise ProsocialError(
                f"{path}, line {line}: the attribute {row['attribute']!r} is none of {list(objectives)}"
            )
        found.prompts.append(_prompt(path, line, row["prompt"]))
        found.chosen.append(_text(path, line, row["chosen"]))
        found.rejected.append(_text(path, line, row["rejected"]))
        labels.append(objectives.index(row["attribute"]))
        found.groups.append(str(row.get("group", found.prompts[-1].conversation)))
    return replace(found, objective=np.array(labels))


def read_labelled_completions(path: str | Path, features: FeatureReader) -> tuple[Labelled, np.ndarray]:
    """XSTest's completions with people's labels: their kinds by model, and which of them answer an unsafe prompt.

    Rows hold `prompt`, `response`, `label` (such as "2_full_refusal"), `model` and `type`, which begins with
    "contrast" where the prompt is unsafe.
    """
    prompts, replies, labels, models, unsafe = [], [], [], [], []
    for line, row in _rows(path, ("prompt", "response", "label", "model", "type")):
        label = str(row["label"]).partition("_")[2]
        if label not in REFUSAL:
            raise ProsocialError(f"{path}, line {line}: the label {row['label']!r} is none of {list(REFUSAL)}")
        prompts.append(_prompt(path, line, row["prompt"]))
        replies.append(_text(path, line, row["response"]))
        labels.append(REFUSAL.index(label))
        models.append(str(row["model"]))
        unsafe.append(str(row["type"]).startswith("contrast"))
    return Labelled(features(prompts, replies), np.array(labels), models), np.array(unsafe)


_PEOPLE = {"answers": FULL_COMPLIANCE, "partly_turns_away": PARTIAL_REFUSAL, "turns_away": FULL_REFUSAL}


def read_people(path: str | Path, features: FeatureReader) -> Labelled:
    """Replies to people in need with a reader's labels: `prompt`, `response` and `label` (such as "turns_away").

    Replies to one person are of one group.
    """
    prompts, replies, labels = [], [], []
    for line, row in _rows(path, ("prompt", "response", "label")):
        if row["label"] not in _PEOPLE:
            raise ProsocialError(f"{path}, line {line}: the label {row['label']!r} is none of {list(_PEOPLE)}")
        prompts.append(_prompt(path, line, row["prompt"]))
        replies.append(_text(path, line, row["response"]))
        labels.append(REFUSAL.index(_PEOPLE[row["label"]]))
    return Labelled(features(prompts, replies), np.array(labels), [str(prompt.conversation) for prompt in prompts])


def read_harm_rows(harmful: str | Path, benign: str | Path, features: FeatureReader) -> Labelled:
    """Harmful and benign replies, JSON lines of `prompt` and `completion`."""
    prompts, replies, labels = [], [], []
    for path, label in ((harmful, HARMFUL), (benign, SAFE)):
        for line, row in _rows(path, ("prompt", "completion")):
            prompts.append(_prompt(path, line, row["prompt"]))
            replies.append(_text(path, line, row["completion"]))
            labels.append(HARM.index(label))
    return Labelled(features(prompts, replies), np.array(labels), [str(prompt.conversation) for prompt in prompts])


def _rows(path: str | Path, fields: Sequence[str]) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for line, text in json_rows(path):
        try:
            found.append((line, row_of(text, fields)))
        except MalformedRowError as error:
            raise ProsocialError(f"{path}, line {line}: {error}") from error
    if not found:
        raise ProsocialError(f"{path} holds no row")
    return found


def _prompt(path: str | Path, line: int, prompt: Any) -> Prompt:
    try:
        return Prompt(Path(path).stem, str(line), conversation_of(prompt))
    except MalformedRowError as error:
        raise ProsocialError(f"{path}, line {line}: {error}") from error


def _text(path: str | Path, line: int, reply: Any) -> str:
    if are_messages(reply):
        reply = reply[-1]["content"]
    if not isinstance(reply, str):
        raise ProsocialError(f"{path}, line {line}: no reply, but {json.dumps(reply):.80}")
    return reply
