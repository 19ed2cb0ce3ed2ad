"""Converters for sets whose format is theirs alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from .columns import chained, number_of, text_of
from .made import Left, Made, Rows, clean, rank, said, words_of
from .registry import converter

_TURN = re.compile(r"\n\n(Human|Assistant): ?")


@converter("transcripts")
def transcripts(rows: Rows, chosen: str, rejected: str) -> Iterator[Made | Left]:
    """Two transcripts of "Human:" and "Assistant:", which differ in the last reply (hh-rlhf)."""
    for row in chained(rows):
        better, worse = _turns(row[chosen]), _turns(row[rejected])
        prompt = better[:-1]
        alike = prompt == worse[:-1] and bool(prompt) and prompt[-1][0] == "user"
        if alike and better[-1][0] == worse[-1][0] == "assistant":
            yield Made(words_of(prompt[0][1]), prompt, (better[-1][1], worse[-1][1]))
        else:
            yield Left("transcripts that do not differ in the last reply alone")


@converter("rated_rewritings")
def rated_rewritings(rows: Rows, rewritings: str, ratings: str, patients: str) -> Iterator[Made | Left]:
    """Rewritings of a line, rated for empathy, as replies to what patients said (empathetic-personas).

    A pair is two rewritings of one line for one emotion, the one rated above the other. What patients said is shared
    out among the lines, so that two lines have no prompt in common, and lines that share a rewriting are one group.

    Args:
        rows: of the three files.
        rewritings: columns base, emotion, rewriting.
        ratings: columns response, empathy_score.
        patients: columns `EMOTION - Patient response N`.
    """
    rated: dict[str, list[float]] = {}
    for row in rows[ratings]:
        rated.setdefault(words_of(text_of(row, "response")), []).append(number_of(row, "empathy_score"))
    scores = {words: sum(some) / len(some) for words, some in rated.items()}
    lines = _lines(rows[rewritings])
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows[rewritings]:
        score = scores.get(words_of(row["rewriting"]))
        if score is None or "{}" in row["rewriting"]:
            yield Left("a rewriting without a rating, or with a gap in it")
        else:
            found.setdefault((row["emotion"], lines[row["base"]]), {})[clean(row["rewriting"])] = score
    said_by = {emotion: _said_by(rows[patients], emotion) for emotion in {mood for mood, _ in found}}
    own = sorted({line for emotion, line in found if said_by[emotion]})
    for (emotion, line), replies in sorted(found.items()):
        prompts = [text for text in said_by[emotion] if own[_share(text, len(own))] == line]
        ranked = sorted(combinations(sorted(replies), 2), key=lambda pair: rank("\x1f".join(pair)))
        differing = [pair for pair in ranked if replies[pair[0]] != replies[pair[1]]]
        for index, (one, other) in enumerate(differing if prompts else ()):
            pair = (one, other) if replies[one] > replies[other] else (other, one)
            yield Made(f"line {line}", said(prompts[index % len(prompts)]), pair, {"category": emotion})


@converter("said_by_patients")
def said_by_patients(rows: Rows) -> Iterator[Made | Left]:
    """What patients said of how they feel, by emotion (empathetic-personas)."""
    for of_file in rows.values():
        for emotion in sorted({name.split(" - ")[0] for name in of_file[0] if " - Patient response" in name}):
            for text in _said_by(of_file, emotion):
                yield Made(words_of(text), said(text), (), {"category": emotion})


@converter("opening_messages")
def opening_messages(rows: Rows) -> Iterator[Made | Left]:
    """What speakers open a conversation with, by the feeling that they were asked to speak of (EmpatheticDialogues)."""
    for row in chained(rows):
        if number_of(row, "utterance_idx") == 1:
            text = clean(row["utterance"]).replace("_comma_", ",")
            yield Made(words_of(text), said(text), (), {"category": text_of(row, "context")})


def _turns(transcript: str) -> tuple[tuple[str, str], ...]:
    parts = _TURN.split(transcript)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple((roles[who], clean(text)) for who, text in zip(parts[::2], parts[1::2], strict=True))


def _lines(rewritings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A name for each line that was rewritten; lines that share a rewriting have one name."""
    import networkx

    graph = networkx.Graph()
    for row in rewritings:
        graph.add_edge(("line", row["base"]), ("rewriting", words_of(row["rewriting"])))
    names = {}
    for component in networkx.connected_components(graph):
        bases = sorted(text for kind, text in component if kind == "line")
        names |= dict.fromkeys(bases, bases[0])
    return names


def _said_by(patients: Sequence[Mapping[str, Any]], emotion: str) -> list[str]:
    """What patients of an emotion said, each once, in an order that no run changes."""
    columns = [name for name in patients[0] if re.fullmatch(rf"{re.escape(emotion)} - Patient response \d+", name)]
    texts = {words_of(row[column]): clean(row[column]) for row in patients for column in columns if clean(row[column])}
    return sorted(texts.values(), key=rank)


def _share(text: str, count: int) -> int:
    return int.from_bytes(rank(words_of(text))[:8]) % count
