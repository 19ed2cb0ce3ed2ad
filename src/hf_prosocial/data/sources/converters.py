"""Converters for the ways in which public sets hold preferences, completions, prompts and labels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from hf_prosocial.errors import ProsocialError

from .columns import chained, fitting, most_say, number_of, parsed, text_of, value_of
from .made import Made, Rows, clean, rank, said, words_of
from .registry import converter

Column = str | Sequence[str]


@converter("paired_columns")
def paired_columns(
    rows: Rows, prompt: Column, chosen: str, rejected: str, where: Mapping[str, str] | None = None
) -> Iterator[Made]:
    """A preferred reply and another in two columns: texts, or lists of chat messages whose last is the reply."""
    for row in fitting(chained(rows), where):
        asked = conversation(row, prompt)
        yield Made(_group(asked), asked, (_reply(row, chosen), _reply(row, rejected)))


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
) -> Iterator[Made]:
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


@converter("scored_replies")
def scored_replies(
    rows: Rows,
    prompt: Column,
    reply: str,
    score: str,
    margin: float = 1.0,
    where: Mapping[str, str] | None = None,
    within: str | None = None,
) -> Iterator[Made]:
    """Replies with a score each, several to a prompt: a pair of any two whose scores differ by `margin` at least.

    Rows whose score is not told ("N/A", nothing) are left out. `within`: the column that holds a list of rows.
    """
    told = (row for row in fitting(_inner(chained(rows), within), where) if text_of(row, score) not in ("", "N/A"))
    for asked, found in _by_prompt(told, prompt).items():
        scored = [(number_of(row, score), text_of(row, reply)) for row in found]
        for one, other in combinations(scored, 2):
            better, worse = max(one, other), min(one, other)
            if better[0] - worse[0] >= margin:
                yield Made(_group(asked), asked, (better[1], worse[1]))


@converter("labelled_replies")
def labelled_replies(
    rows: Rows,
    prompt: Column,
    reply: str,
    label: str,
    good: Sequence[str],
    bad: Sequence[str],
    where: Mapping[str, str] | None = None,
    parse: Mapping[str, str] | None = None,
) -> Iterator[Made]:
    """Replies with a label each, several to a prompt: a pair of each good one and each bad one.

    Safe and unsafe replies in one context, or true and false answers to one question.
    """
    for asked, found in _by_prompt(parsed(fitting(chained(rows), where), parse), prompt).items():
        replies = [(clean(value_of(row, label)), text_of(row, reply)) for row in found]
        for better in (text for word, text in replies if word in good):
            for worse in (text for word, text in replies if word in bad):
                yield Made(_group(asked), asked, (better, worse))


@converter("completions")
def completions(
    rows: Rows,
    prompt: Column,
    completion: str,
    category: str | None = None,
    where: Mapping[str, str] | None = None,
    within: str | None = None,
) -> Iterator[Made]:
    """A prompt and one completion. `within`: the column that holds a list of rows."""
    for row in fitting(_inner(chained(rows), within), where):
        asked = conversation(row, prompt)
        about = {} if category is None else {"category": text_of(row, category)}
        yield Made(_group(asked), asked, (text_of(row, completion),), about)


@converter("answered_by_template")
def answered_by_template(
    rows: Rows, prompt: Column, parts: Sequence[Sequence[str]], within: str | None = None
) -> Iterator[Made]:
    """Each prompt once, with a completion of our own: one text of each part, which the prompt's hash draws."""
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
) -> Iterator[Made]:
    """Prompts, each once, with a category and a label where there are any."""
    for row in parsed(fitting(_inner(chained(rows), within), where), parse):
        columns = {"category": category, "label": label}
        about = {name: text_of(row, column) for name, column in columns.items() if column is not None}
        asked = conversation(row, prompt)
        yield Made(_group(asked), asked, (), about)


@converter("nested_prompts")
def nested_prompts(rows: Rows) -> Iterator[Made]:
    """Prompts in lists, in objects of which each key is a category."""
    for row in chained(rows):
        for path, text in _leaves(row):
            yield Made(words_of(text), said(clean(text)), (), {"category": " / ".join(path)})


@converter("labelled_by_people")
def labelled_by_people(
    rows: Rows, prompt: str, response: str, label: str, about: Mapping[str, str] | None = None
) -> Iterator[Made]:
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
    value = value_of(row, column)
    return clean(value[-1]["content"]) if isinstance(value, list) else text_of(row, column)


def _group(prompt: tuple[tuple[str, str], ...]) -> str:
    """Conversations that begin alike are of one group."""
    return words_of(prompt[0][1])


def _by_prompt(
    rows: Iterator[dict[str, Any]], prompt: Column
) -> dict[tuple[tuple[str, str], ...], list[dict[str, Any]]]:
    found: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(conversation(row, prompt), []).append(row)
    return found


def _inner(rows: Iterator[dict[str, Any]], within: str | None) -> Iterator[dict[str, Any]]:
    for row in rows:
        if within is None:
            yield row
        else:
            yield from (row | inner for inner in value_of(row, within))


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key).strip(" :")))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, str(value)
