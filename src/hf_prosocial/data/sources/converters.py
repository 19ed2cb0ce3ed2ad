"""Converters for the ways in which public sets hold preferences, completions, prompts and labels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from hf_prosocial.errors import ProsocialError

from .columns import chained, fitting, most_say, number_of, parsed, text_of, value_of
from .made import Left, Made, Rows, clean, rank, said, words_of
from .registry import converter

Column = str | Sequence[str]


@converter("paired_columns")
def paired_columns(
    rows: Rows, prompt: Column, chosen: str, rejected: str, where: Mapping[str, str] | None = None
) -> Iterator[Made | Left]:
    """A preferred reply and another in two columns: texts, or lists of chat messages whose last is the reply."""
    for row in fitting(chained(rows), where):
        asked = conversation(row, prompt)
        replies = (_reply(row, chosen), _reply(row, rejected))
        yield (
            Made(_group(asked), asked, replies)
            if all(replies)
            else Left("a reply that is not the assistant's, or none")
        )


@converter("compared_columns")
def compared_columns(
    rows: Rows,
    prompt: Column,
    first: str,
    second: str,
    votes: Sequence[str],
    says_first: str,
    says_second: str,
    where: Mapping[str, str] | None = None,
) -> Iterator[Made | Left]:
    """Two replies in two columns, and columns with people's answers which is better; more than half must agree.

    Args:
        rows: of the source.
        prompt, first, second: columns.
        votes: columns of answers.
        says_first, says_second: regular expressions for an answer, as text.
        where: columns and the regular expressions that they must match.
    """
    for row in fitting(chained(rows), where):
        replies = (text_of(row, first), text_of(row, second))
        asked = conversation(row, prompt)
        if most_say(row, votes, says_first):
            yield Made(_group(asked), asked, replies)
        elif most_say(row, votes, says_second):
            yield Made(_group(asked), asked, replies[::-1])
        else:
            yield Left("no majority for either reply")


@converter("scored_replies")
def scored_replies(
    rows: Rows,
    prompt: Column,
    reply: str,
    score: str,
    margin: float = 1.0,
    where: Mapping[str, str] | None = None,
    within: str | None = None,
) -> Iterator[Made | Left]:
    """Replies with a score each, several to a prompt: a pair of any two whose scores differ by `margin` at least.

    Rows whose score is not told ("N/A", nothing) are left out. `within`: the column that holds a list of rows.
    """
    for asked, found in _by_prompt(fitting(_inner(chained(rows), within), where), prompt).items():
        told = [row for row in found if text_of(row, score) not in ("", "N/A")]
        yield from [Left("a score that is not told")] * (len(found) - len(told))
        scored = [(number_of(row, score), text_of(row, reply)) for row in told]
        for one, other in combinations(scored, 2):
            better, worse = max(one, other), min(one, other)
            far = better[0] - worse[0] >= margin
            yield Made(_group(asked), asked, (better[1], worse[1])) if far else Left("scores that differ too little")


@converter("labelled_replies")
def labelled_replies(
    rows: Rows,
    prompt: Column,
    reply: str,
    label: str,
    good: str | Sequence[Any],
    bad: str | Sequence[Any],
    where: Mapping[str, str] | None = None,
    parse: Mapping[str, str] | None = None,
) -> Iterator[Made | Left]:
    """Replies with a label each, several to a prompt: a pair of each good one and each bad one.

    Safe and unsafe replies in one context, or true and false answers to one question.
    """
    for asked, found in _by_prompt(parsed(fitting(chained(rows), where), parse), prompt).items():
        replies = [(clean(value_of(row, label)), text_of(row, reply)) for row in found]
        good_labels, bad_labels = _labels(good), _labels(bad)
        strange = sorted({word for word, _ in replies} - {*good_labels, *bad_labels})
        yield from (Left(f"the label {word!r}, which is neither good nor bad") for word in strange)
        for better in (text for word, text in replies if word in good_labels):
            for worse in (text for word, text in replies if word in bad_labels):
                yield Made(_group(asked), asked, (better, worse))


@converter("completions")
def completions(
    rows: Rows,
    prompt: Column,
    completion: str,
    category: str | None = None,
    where: Mapping[str, str] | None = None,
    within: str | None = None,
) -> Iterator[Made | Left]:
    """A prompt and one completion. `within`: the column that holds a list of rows."""
    for row in fitting(_inner(chained(rows), within), where):
        asked = conversation(row, prompt)
        about = {} if category is None else {"category": text_of(row, category)}
        yield Made(_group(asked), asked, (text_of(row, completion),), about)


@converter("answered_by_template")
def answered_by_template(
    rows: Rows, prompt: Column, parts: Sequence[Sequence[str]], within: str | None = None
) -> Iterator[Made | Left]:
    """Each prompt once, with a completion of our own: one text of each part, which the prompt's hash draws."""
    if not parts or not all(parts):
        raise ProsocialError("parts: one list of texts or more, none of them empty")
    asked = dict.fromkeys(conversation(row, prompt) for row in _inner(chained(rows), within))
    for one in asked:
        digest = rank(words_of(one[-1][1]))
        reply = " ".join(texts[digest[at] % len(texts)] for at, texts in enumerate(parts))
        yield Made(_group(one), one, (reply,))


@converter("prompts")
def prompts(
    rows: Rows,
    prompt: Column,
    category: str | None = None,
    label: str | None = None,
    where: Mapping[str, str] | None = None,
    within: str | None = None,
    parse: Mapping[str, str] | None = None,
) -> Iterator[Made | Left]:
    """Prompts, each once, with a category and a label where there are any."""
    for row in parsed(fitting(_inner(chained(rows), within), where), parse):
        columns = {"category": category, "label": label}
        told = {name: text_of(row, column) for name, column in columns.items() if column is not None}
        about = {name: text for name, text in told.items() if text}
        asked = conversation(row, prompt)
        yield Made(_group(asked), asked, (), about)


@converter("nested_prompts")
def nested_prompts(rows: Rows) -> Iterator[Made | Left]:
    """Prompts in lists, in objects of which each key is a category."""
    for row in chained(rows):
        for path, text in _leaves(row):
            if not isinstance(text, str):
                yield Left("a prompt that is no text")
                continue
            yield Made(words_of(text), said(clean(text)), (), {"category": " / ".join(path)})


@converter("labelled_by_people")
def labelled_by_people(
    rows: Rows, prompt: str, response: str, label: str, about: Mapping[str, str] | None = None
) -> Iterator[Made | Left]:
    """Replies with people's label each, and further columns by their new names; the file's own name is `file`."""
    for name, of_file in rows.items():
        for row in of_file:
            asked = said(text_of(row, prompt))
            columns = {new: text_of(row, old) for new, old in (about or {}).items()}
            more = {"label": text_of(row, label), "file": name} | columns
            yield Made(_group(asked), asked, (text_of(row, response),), more)


def conversation(row: Mapping[str, Any], prompt: Column) -> tuple[tuple[str, str], ...]:
    """A prompt from a column of text, or of chat messages; messages after the last user's are left away."""
    value = value_of(row, prompt) if isinstance(prompt, str) else None
    if not isinstance(value, list):
        return said(text_of(row, prompt))
    messages = [(str(one["role"]), clean(one["content"])) for one in value]
    while messages and messages[-1][0] != "user":
        messages.pop()
    if not messages:
        raise ProsocialError(f"column {prompt!r} holds no user's message: {value!r:.80}")
    return tuple(messages)


def _reply(row: Mapping[str, Any], column: str) -> str:
    """A reply from a column of text, or of chat messages whose last is the assistant's; empty where it is not."""
    value = value_of(row, column)
    if not isinstance(value, list):
        return text_of(row, column)
    return clean(value[-1]["content"]) if value and value[-1]["role"] == "assistant" else ""


def _labels(labels: str | Sequence[Any]) -> list[str]:
    """Labels as text: one alone is no list of letters."""
    return [labels] if isinstance(labels, str) else [clean(one) for one in labels]


def _group(prompt: tuple[tuple[str, str], ...]) -> str:
    """Conversations whose first message of the user is the same are of one group."""
    return words_of(next(text for role, text in prompt if role == "user"))


def _by_prompt(
    rows: Iterator[dict[str, Any]], prompt: Column
) -> dict[tuple[tuple[str, str], ...], list[dict[str, Any]]]:
    """Rows by their prompts; those that differ in case or punctuation alone are one."""
    found: dict[tuple[str, ...], list[tuple[tuple[tuple[str, str], ...], dict[str, Any]]]] = {}
    for row in rows:
        asked = conversation(row, prompt)
        found.setdefault(tuple(words_of(text) for _, text in asked), []).append((asked, row))
    return {min(asked for asked, _ in some): [row for _, row in some] for some in found.values()}


def _inner(rows: Iterator[dict[str, Any]], within: str | None) -> Iterator[dict[str, Any]]:
    for row in rows:
        if within is None:
            yield row
        else:
            yield from (row | inner for inner in value_of(row, within))


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key).strip(" :")))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value
