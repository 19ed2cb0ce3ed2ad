"""The card of the embedded judges."""

from collections.abc import Mapping
from typing import Any

from .labels import HARM, REFUSAL

_CARD = """# Embedded judges

Linear heads on the hidden states of `{model}` (layers {layers}, averaged over the reply): rewards for five objectives,
and judges of refusals and of harm. They need no network. They read it in {dtype}, weights of sha256
`{weights}`.

Every figure is of replies that the head was not trained on: preference pairs in five folds of prompts; completions by
leaving out one answering model at a time. The penalty is chosen without them as well. Intervals are 95 %.

## Rewards: share of held-out pairs in order

| objective | accuracy | pairs |
|---|---|---|
{rewards}

{judges}

## Limits

Small heads on a small model: good for comparing variants over many replies, not for judging one. English only. The
rewards were trained on replies of a few sentences; of texts that are no text they say nothing, so degenerate replies
are counted apart. The harm judge was trained on prompts that ask for harm: it tells whether a reply complies.

## Trained on

{data}
{versions}
"""


def judges_card(record: Mapping[str, Any]) -> str:
    """Markdown: what the heads are, how good, and on what data.

    Args:
        record: of `Heads`.
    """
    validation = record["validation"]
    rewards = [
        f"| {name} | {one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}] | {one['count']} |"
        for name, one in validation["rewards"].items()
    ]
    judges = (("refusal", REFUSAL), ("harm", HARM))
    return _CARD.format(
        model=record["model"],
        layers=", ".join(map(str, record["layers"])),
        dtype=record["dtype"],
        weights=record["weights"],
        rewards="\n".join(rewards),
        judges="\n\n".join(_judge(kind, names, validation[kind]) for kind, names in judges),
        data="\n".join(f"- `{name}`: sha256 `{digest}`" for name, digest in record["data"].items()),
        versions="- " + ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    )


def _judge(kind: str, names: tuple[str, ...], figures: Mapping[str, Any]) -> str:
    by_model = ", ".join(f"{name} {value:.3f}" for name, value in figures["accuracy_by_model"].items())
    lines = [
        f"## The {kind} judge",
        "",
        f"On {figures['said']}. By answering model: {by_model}. Brier score of its certainty {figures['brier']:.3f}.",
        "",
        "| people say \\ it says | " + " | ".join(names) + " | recall |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name, row in zip(names, figures["confusion"], strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + f" | {figures['recall'][name]:.3f} |")
    said, right = figures["calibration"]["said"], figures["calibration"]["right"]
    lines += ["", "| how sure it is | " + " | ".join(f"{value:.2f}" for value in said) + " |"]
    lines += [
        "|---" * (len(said) + 1) + "|",
        "| how often right | " + " | ".join(f"{value:.2f}" for value in right) + " |",
    ]
    return "\n".join(lines)
