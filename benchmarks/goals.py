"""Goals: a figure, its value, and whether it holds."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Goal:
    """A measured figure beside what it should be; `goal` reads like "<= 1.05"."""

    figure: str
    value: float
    goal: str

    @property
    def holds(self) -> bool:
        relation, bound = self.goal.split()
        return self.value <= float(bound) if relation == "<=" else self.value >= float(bound)


def report(name: str, goals: list[Goal]) -> bool:
    """Print the goals for people, then the JSON line for machines; whether all of them hold."""
    for goal in goals:
        print(f"{'holds' if goal.holds else 'FAILS'}  {goal.figure}: {goal.value:.3f} (goal {goal.goal})")
    lines = [asdict(goal) | {"value": round(goal.value, 4), "holds": goal.holds} for goal in goals]
    print(json.dumps({"name": name, "goals": lines}), flush=True)
    return all(goal.holds for goal in goals)
