"""Splits that nothing leaks through: rows that share a group, a prompt or a reply stay on one side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx

from hf_prosocial.errors import ProsocialError

from .made import LONG_REPLY, Made, rank, words_of

# A component may exceed what an objective still needs by so much of its goal.
_OVER = 1.25


@dataclass(frozen=True)
class Pairing:
    """A preference pair of an objective, and its component: what it is connected with by shared texts."""

    objective: str
    source: str
    row: Made
    component: str = ""


def split(pairs: Sequence[Pairing], goals: Mapping[str, int]) -> tuple[list[Pairing], list[Pairing], int]:
    """Training pairs, held-out pairs, and how many of these were left out since training has a short reply of them.

    Two pairs are connected where they share a group, a prompt, or a reply of more than 40 characters, within an
    objective or across. Whole components are held out, the smallest hash first, until every objective has enough.

    Args:
        pairs: all of them.
        goals: how many pairs of each objective to hold out.

    Raises:
        ProsocialError: an objective whose pairs are all connected, or share short replies, so that none is held out.
    """
    named = _with_components(pairs)
    sizes: dict[str, Counter[str]] = {}
    for pair in named:
        sizes.setdefault(pair.component, Counter())[pair.objective] += 1
    held: set[str] = set()
    count: Counter[str] = Counter()
    for component in sorted(sizes, key=rank):
        own = sizes[component]
        needed = any(count[name] < goals[name] for name in own)
        if needed and all(count[name] + own[name] <= _OVER * goals[name] for name in own):
            held.add(component)
            count += own
    training = [pair for pair in named if pair.component not in held]
    _check_goals(training, count, goals)
    known = {words_of(reply) for pair in training for reply in pair.row.replies}
    out = [pair for pair in named if pair.component in held]
    kept = [pair for pair in out if not any(words_of(reply) in known for reply in pair.row.replies)]
    gone = sorted(set(goals) - {pair.objective for pair in kept})
    if gone:
        raise ProsocialError(
            f"{', '.join(gone)}: every pair that was held out has a short reply that training has too; let replies "
            "differ"
        )
    return training, kept, len(out) - len(kept)


def _with_components(pairs: Sequence[Pairing]) -> list[Pairing]:
    graph = networkx.Graph()
    for index, pair in enumerate(pairs):
        graph.add_edge(index, ("group", pair.source, pair.row.group))
        graph.add_edge(index, ("prompt", pair.row.prompt_key))
        for reply in pair.row.replies:
            if len(reply) > LONG_REPLY:
                graph.add_edge(index, ("reply", words_of(reply)))
    found = list(pairs)
    for component in networkx.connected_components(graph):
        own = [node for node in component if isinstance(node, int)]
        name = min(f"{pairs[index].source} {rank(pairs[index].row.group).hex()[:12]}" for index in own)
        for index in own:
            found[index] = Pairing(pairs[index].objective, pairs[index].source, pairs[index].row, name)
    return found


def _check_goals(training: Sequence[Pairing], count: Counter[str], goals: Mapping[str, int]) -> None:
    left = Counter(pair.objective for pair in training)
    for name in goals:
        if not count[name] or not left[name]:
            raise ProsocialError(
                f"{name}: no split keeps its {count[name] + left[name]} pairs apart, since they share groups, prompts "
                "or replies; give more sources, or smaller groups"
            )


def shared_texts(training: Sequence[Made], held_out: Sequence[Made]) -> dict[str, int]:
    """Prompts and replies of held-out rows that training rows have too; both 0 after `split`."""
    prompts = {row.prompt_key for row in training}
    replies = {words_of(reply) for row in training for reply in row.replies}
    return {
        "prompts": len({row.prompt_key for row in held_out} & prompts),
        "replies": len({words_of(reply) for row in held_out for reply in row.replies} & replies),
    }
