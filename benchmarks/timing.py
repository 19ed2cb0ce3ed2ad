"""Ratios that can be trusted on a machine whose speed drifts: repeats in turn, medians of pairs."""

import time
from collections.abc import Callable, Mapping
from statistics import median


def in_turn(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each task, run A B C A B C ... `repeats` times after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, task in tasks.items():
            begin = time.perf_counter()
            task()
            if repeat:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Median over repeats of the ratio within one repeat."""
    return median(one / other for one, other in zip(numerators, denominators, strict=True))
