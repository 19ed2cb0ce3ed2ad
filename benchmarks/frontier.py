"""What a preference gains for how far it moves the model, by method and strength: reports/smollm2-frontier.

Goes on with recipes/ablations/frontier.yaml, an hour and a half on two cores where nothing of it is there yet.
"""

from pathlib import Path

from benchmarks.goals import Goal, report
from hf_prosocial.evaluation import evaluate, read_config
from study.smollm2.tables import rendered

CONFIG, OUT = Path("recipes/ablations/frontier.yaml"), Path("reports/smollm2-frontier")


def run() -> bool:
    metrics = evaluate(read_config(CONFIG), OUT)
    print(rendered("frontier"))
    base = metrics.capability["base"]["perplexity"]["mean"]
    return report(
        "frontier",
        [
            Goal(
                f"perplexity of {name} over the base's, at temperature 1 + β",
                costs["perplexity_tempered"]["mean"] / base,
                "<= 1.05",
            )
            for name, costs in metrics.capability.items()
            if name != "base"
        ],
    )
