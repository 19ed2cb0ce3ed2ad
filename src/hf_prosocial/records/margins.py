"""Margins on held-out pairs, as a trained adapter's record holds them  [METHOD, "What is measured"]."""

from dataclasses import dataclass

from .interval import Interval
from .record import STRICT, Number


@dataclass(frozen=True)
class ObjectiveMargins:
    """The figures of one objective's pairs.

    Attributes:
        pairs: how many.
        own, uniform: per-token accuracy under the own one-hot and under the uniform preference.
        own_summed: accuracy of summed margins, under the own one-hot preference.
        raw, raw_base: share of pairs whose chosen reply is likelier, by the adapter and by the base alone.
        longer_wins: what "the longer reply wins" scores.
        control, control_summed: the diagonal of the control matrix less the mean of the column's other rows, in nats.
    """

    __pydantic_config__ = STRICT
    pairs: int
    own: Interval
    uniform: Interval
    own_summed: Interval
    raw: Interval
    raw_base: Interval
    longer_wins: Interval
    control: Interval
    control_summed: Interval


@dataclass(frozen=True)
class MarginSummary:
    """All figures of margins.

    Attributes:
        objectives: by name.
        mean_accuracy: the mean of `own`.
        control_matrix: row one-hot p, column objective; per token, nats.
        control_half_widths: of its cells' intervals.
    """

    __pydantic_config__ = STRICT
    objectives: dict[str, ObjectiveMargins]
    mean_accuracy: Number
    control_matrix: list[list[Number]]
    control_half_widths: list[list[Number]]
