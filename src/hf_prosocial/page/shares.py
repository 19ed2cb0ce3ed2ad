"""Sliders that always sum to one."""

from collections.abc import Sequence

WHOLE = 100
"""Shares are whole hundredths, so that they sum to one to the last digit."""


def rebalanced(shares: Sequence[int], moved: int) -> list[int]:
    """Rescale all but one share, in proportion, so that all of them sum to `WHOLE`.

    Args:
        shares: two or more, each 0 to `WHOLE`.
        moved: the index of the one that stays as it is.

    Returns:
        As many; the others are equal where they were all 0.
    """
    others = [index for index in range(len(shares)) if index != moved]
    left, total = WHOLE - shares[moved], sum(shares[index] for index in others)
    exact = {index: left * (shares[index] / total if total else 1 / len(others)) for index in others}
    found = {index: int(share) for index, share in exact.items()}
    # Hundredths that rounding down left over go to the largest remainders.
    spare = left - sum(found.values())
    for index in sorted(others, key=lambda one: found[one] - exact[one])[:spare]:
        found[index] += 1
    return [shares[moved] if index == moved else found[index] for index in range(len(shares))]
