"""Which of the rows that a converter made are taken: filters and caps, everything left out counted by its reason."""

from collections import Counter
from collections.abc import Iterable

from .made import Made, rank, words_of
from .mixture import Use


def chosen_rows(rows: Iterable[Made], use: Use, left_out: Counter[str]) -> list[Made]:
    """The rows that a use takes, in an order that looks random and never changes.

    Args:
        rows: what its converter made.
        use: with its caps and lengths.
        left_out: counts what is not taken, by reason.
    """
    taken: list[Made] = []
    seen: set[str] = set()
    of_prompt: Counter[str] = Counter()
    of_group: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: rank(row.identity)):
        fault = _fault(row, use)
        key = "\x1f".join((row.prompt_key, *map(words_of, row.replies)))
        if fault is None and key in seen:
            fault = "a row twice"
        elif fault is None and use.per_prompt is not None and of_prompt[row.prompt_key] >= use.per_prompt:
            fault = f"more than {use.per_prompt} rows of a prompt"
        elif fault is None and use.per_group is not None and of_group[row.group] >= use.per_group:
            fault = f"more than {use.per_group} rows of a group"
        elif fault is None and use.at_most is not None and len(taken) >= use.at_most:
            fault = f"more than {use.at_most} rows of the source"
        if fault is not None:
            left_out[fault] += 1
            continue
        seen.add(key)
        of_prompt[row.prompt_key] += 1
        of_group[row.group] += 1
        taken.append(row)
    return taken


def _fault(row: Made, use: Use) -> str | None:
    if not row.prompt_key.strip(" /") or not all(words_of(reply) for reply in row.replies):
        return "an empty text"
    if len(row.replies) == 2 and words_of(row.replies[0]) == words_of(row.replies[1]):
        return "both replies alike"
    if row.length < use.shortest:
        return f"shorter than {use.shortest} characters"
    return f"longer than {use.longest} characters" if row.length > use.longest else None
