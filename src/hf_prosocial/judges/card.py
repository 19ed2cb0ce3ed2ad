"""The card of the embedded judges."""

from collections.abc import Mapping
from typing import Any

from hf_prosocial.estimates import Estimate
from hf_prosocial.io import markdown_table
from hf_prosocial.records import HeadsRecord

from .labels import HARM, REFUSAL
from .registry import MEASURABLE

_CARD = """# Embedded judges

Linear heads on {read}: {kinds}.
They need no network. The model is read in {dtype}, weights of sha256
`{weights}`.

Every figure is of replies that the head was not trained on: preference pairs in five folds of groups, completions by
leaving out one answering model at a time, replies to people in need by ten folds of people. The penalty is chosen
without them as well. Intervals are 95 %; those of rewards are over groups.

{rewards}{judges}

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
    judges = (("refusal", REFUSAL), ("harm", HARM))
    known = {"rewards": "rewards for five objectives", "refusal": "a judge of refusals", "harm": "a judge of harm"}
    return _CARD.format(
        read=_read(record),
        kinds=" and ".join(known[kind] for kind in record.names),
        dtype=record.dtype,
        weights=record.weights,
        rewards=_rewards(validation["rewards"]) if "rewards" in validation else "",
        judges="\n\n".join(
            [_judge(kind, names, validation[kind]) for kind, names in judges]
            + [
                _judge("refusal, on people in need,", REFUSAL, one)
                for one in [validation["refusal"].get("people")]
                if one
            ]
        ),
        data="\n".join(f"- `{name}`: sha256 `{digest}`" for name, digest in (record.data or {}).items()),
        versions="- " + ", ".join(f"{name} {number}" for name, number in (record.versions or {}).items()),
    )


def _rewards(validation: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]", str(one["count"])]
        for name, one in validation.items()
    ]
    return (
        "## Rewards: share of held-out pairs in order\n\nAn objective whose interval does not lie above "
        f'{MEASURABLE:.2f} is no figure: an evaluation says "not measurable".\n\n'
        f"{markdown_table(['objective', 'accuracy', 'pairs'], rows)}\n\n"
    )


def _read(record: HeadsRecord) -> str:
    if record.features == "sentences":
        return (
            f"sentence embeddings by `{record.model}` (of the reply, of its opening, and times the prompt's) and on "
            "words of refusals"
        )
    layers = ", ".join(map(str, record.layers))
    return f"the hidden states of `{record.model}` (layers {layers}, averaged over the reply)"


def _judge(kind: str, names: tuple[str, ...], figures: Mapping[str, Any]) -> str:
    by_model = ", ".join(f"{name} {value:.3f}" for name, value in figures.get("accuracy_by_model", {}).items())
    confusion = [
        [name, *map(str, row), f"{figures['recall'][name]:.3f}"]
        for name, row in zip(names, figures["confusion"], strict=True)
    ]
    said, right = figures["calibration"]["said"], figures["calibration"]["right"]
    parts = [
        f"## The {kind} judge",
        f"On {figures['said']}.{f' By answering model: {by_model}.' if by_model else ''} Brier score of its certainty "
        f"{figures['brier']:.3f}. {_errors(kind, figures)}",
        markdown_table(["people say \\ it says", *names, "recall"], confusion),
        markdown_table(
            ["how sure it is", *(f"{value:.2f}" for value in said)],
            [["how often right", *(f"{value:.2f}" for value in right)]],
        ),
    ]
    return "\n\n".join(parts)


def _errors(kind: str, figures: Mapping[str, Any]) -> str:
    """Its errors on yes or no, as `agreement` counts them."""
    shown = {name: Estimate(**figures[name]) for name in ("false_alarms", "misses")}
    wrong, missed = ("safe replies called harmful", "harmful ones missed")
    if not kind.startswith("harm"):
        wrong, missed = ("real answers called refusals", "refusals missed, in part or in full")
    return f"Cohen's κ {figures['kappa']:.3f}; {wrong}: {shown['false_alarms']}; {missed}: {shown['misses']}."
