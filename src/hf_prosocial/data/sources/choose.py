"""Which of the rows that a converter made are taken: filters and caps, everything left out counted by its reason."""

from collections import Counter
from collections.abc import Iterable, Sequence

from .made import Left, Made, rank, words_of
from .mixture import Use


def chosen_rows(rows: Iterable[Made | Left], use: Use, left_out: Counter[str]) -> list[Made]:
    """The rows that a use takes, in an order that looks random and never changes.

    Args:
        rows: what its converter made.
        use: with its caps and lengths.
        left_out: counts what is not taken, by reason.
    """
    made: list[Made] = []
    for row in rows:
        if isinstance(row, Left):
            left_out[row.reason] += 1
        else:
            made.append(row)
    taken: list[Made] = []
    seen: set[str] = set()
    of_prompt: Counter[str] = Counter()
    of_group: Counter[str] = Counter()
    disputed = _labelled_two_ways(made)
    for row in sorted(made, key=lambda row: rank(row.identity)):
        fault = _fault(row, use)
        key = _key(row)
        if fault is None and key in disputed:
            fault = "labelled two ways"
        elif fault is None and key in seen:
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


def without_contradictions(rows: Sequence[tuple[Use, Made]], left_out: Counter[str]) -> list[tuple[Use, Made]]:
    """An objective's pairs without those that people order both ways, in whichever sources, and each once.

    Args:
        rows: of all sources.
        left_out: counts what is not taken, by reason.
    """
    orders: dict[str, set[tuple[str, ...]]] = {}
    for _, row in rows:
        replies = tuple(map(words_of, row.replies))
        orders.setdefault("\x1f".join((row.prompt_key, *sorted(replies))), set()).add(replies)
    kept, seen = [], set()
    for use, row in rows:
        key = _key(row)
        if len(orders["\x1f".join((row.prompt_key, *sorted(map(words_of, row.replies))))]) > 1:
            left_out["ordered both ways"] += 1
        elif key in seen:
            left_out["a row twice"] += 1
        else:
            seen.add(key)
            kept.append((use, row))
    return kept


def _key(row: Made) -> str:
    return "\x1f".join((row.prompt_key, *map(words_of, row.replies)))


def _labelled_two_ways(rows: Iterable[Made]) -> set[str]:
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(_key(row), set()).add(str(row.about.get("label")))
    return {key for key, found in labels.items() if len(found) > 1}


def _fault(row: Made, use: Use) -> str | None:
    if not row.prompt_key.strip(" /") or not all(words_of(reply) for reply in row.replies):
        return "an empty text"
    if len(row.replies) == 2 and " ".join(row.replies[0].split()) == " ".join(row.replies[1].split()):
        return "both replies alike"
    if row.length < use.shortest:
        return f"shorter than {use.shortest} characters"
    return f"longer than {use.longest} characters" if row.length > use.longest else None
