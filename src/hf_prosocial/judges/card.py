"""The card of the embedded judges."""

from collections.abc import Mapping
from typing import Any

from hf_prosocial.io import markdown_table
from hf_prosocial.records import HeadsRecord

from .labels import HARM, REFUSAL

_CARD = """# Embedded judges

Linear heads on the hidden states of `{model}` (layers {layers}, averaged over the reply): rewards for five objectives,
and judges of refusals and of harm. They need no network. They read it in {dtype}, weights of sha256
`{weights}`.

Every figure is of replies that the head was not trained on: preference pairs in five folds of prompts; completions by
leaving out one answering model at a time. The penalty is chosen without them as well. Intervals are 95 %.

## Rewards: share of held-out pairs in order

{rewards}

{judges}

## Limits

Small heads on a small model: good for comparing variants over many replies, not for judging one. English only. The
rewards were trained on replies of a few sentences; of degenerate replies they say nothing, so these are
counted apart. The harm judge was trained on prompts that ask for harm: it tells whether a reply complies.

## Trained on

{data}
{versions}
"""


def judges_card(record: HeadsRecord) -> str:
    """Markdown: what the heads are, how good, and on what data.

    Args:
        record: of `Heads`.
    """
    validation = record.validation
    rewards = [
        [name, f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]", str(one["count"])]
        for name, one in validation["rewards"].items()
    ]
    judges = (("refusal", REFUSAL), ("harm", HARM))
    return _CARD.format(
        model=record.model,
        layers=", ".join(map(str, record.layers)),
        dtype=record.dtype,
        weights=record.weights,
        rewards=markdown_table(["objective", "accuracy", "pairs"], rewards),
        judges="\n\n".join(_judge(kind, names, validation[kind]) for kind, names in judges),
        data="\n".join(f"- `{name}`: sha256 `{digest}`" for name, digest in (record.data or {}).items()),
        versions="- " + ", ".join(f"{name} {number}" for name, number in (record.versions or {}).items()),
    )


def _judge(kind: str, names: tuple[str, ...], figures: Mapping[str, Any]) -> str:
    by_model = ", ".join(f"{name} {value:.3f}" for name, value in figures["accuracy_by_model"].items())
    confusion = [
        [name, *map(str, row), f"{figures['recall'][name]:.3f}"]
        for name, row in zip(names, figures["confusion"], strict=True)
    ]
    said, right = figures["calibration"]["said"], figures["calibration"]["right"]
    parts = [
        f"## The {kind} judge",
        f"On {figures['said']}. By answering model: {by_model}. Brier score of its certainty {figures['brier']:.3f}.",
        markdown_table(["people say \\ it says", *names, "recall"], confusion),
        markdown_table(
            ["how sure it is", *(f"{value:.2f}" for value in said)],
            [["how often right", *(f"{value:.2f}" for value in right)]],
        ),
    ]
    return "\n\n".join(parts)
