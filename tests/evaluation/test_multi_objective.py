"""Metrics against their definitions: brute force, Monte Carlo, and coverage of the intervals."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_prosocial import OBJECTIVES, Preference
from hf_prosocial.evaluation.bootstrap import bootstrap, paired_difference
from hf_prosocial.evaluation.multi_objective import (
    REFERENCE,
    control,
    control_matrix,
    edges,
    hypervolume,
    mean_inner_product,
    simplex_design,
    z_scores,
)


def rewards(seed, prompts=12, preferences=5, k=3):
    return np.random.default_rng(seed).normal(size=(prompts, preferences, k))


def test_grids():
    grid = edges(OBJECTIVES)
    assert len(grid) == len(set(grid)) == 5 + 10 * 9  # five corners, nine points inside each of ten edges
    assert Preference.parse("empathy=0.3,helpfulness=0.7") in [
        Preference.from_dict({name: round(weight, 9) for name, weight in one.items()}) for one in grid
    ]
    design = simplex_design(OBJECTIVES)
    assert len(design) == len(set(design)) == 31
    assert design[-1] == Preference.uniform()
    assert all(math.isclose(sum(one.values()), 1) for one in [*grid, *design])


def test_z_scores_are_of_the_bases_replies():
    base = rewards(0)[:, 0]
    z = z_scores(base[:, None], base)
    np.testing.assert_allclose(z.mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(z[:, 0].std(axis=0, ddof=1), 1)
    for broken in (np.ones_like(base), np.where(base == base[3], np.nan, base), base * np.inf):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="must be finite and vary"):
            z_scores(base[:, None], broken)


def test_mip_is_the_mean_of_inner_products():
    z, p = rewards(1), np.random.default_rng(2).dirichlet(np.ones(3), size=5)
    expected = np.mean([p[j] @ z[i, j] for i, j in product(range(12), range(5))])
    found = mean_inner_product(z, p)
    assert found.mean == pytest.approx(expected)
    assert found.low < found.mean < found.high
    assert found.count == 12


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_hypervolume_is_the_dominated_share(seed, k):
    z = rewards(seed, prompts=3, k=k)
    means = z.mean(axis=0)
    top = means.max(axis=0)
    draws = np.random.default_rng(seed).uniform(REFERENCE, top, size=(40_000, k))
    dominated = (draws[:, None] <= means).all(axis=2).any(axis=1).mean()
    box = np.prod(top - REFERENCE)
    # Six standard errors of the share, and one draw where it is near none or all: one seed in 10⁸ is further off.
    allowed = 6 * np.sqrt(dominated * (1 - dominated) / len(draws)) + 36 / len(draws)
    assert hypervolume(z).mean == pytest.approx(dominated * box, abs=allowed * box)


def test_control_is_the_diagonal_less_the_other_rows():
    z = rewards(3, preferences=3)
    z[:, 0, 0] += 5
    found = control(z)
    matrix = control_matrix(z)
    for column in range(3):
        others = [matrix[row, column] for row in range(3) if row != column]
        assert found[column].mean == pytest.approx(matrix[column, column] - np.mean(others))
    assert found[0].low > 0
    heedless = np.repeat(rewards(3, preferences=1) / 3, 3, axis=1)
    assert all((one.mean, one.low, one.high) == (0, 0, 0) for one in control(heedless))
    with pytest.raises(ValueError, match="under the 3 one-hot preferences, found 5"):
        control(rewards(3))


def test_intervals_cover_the_truth():
    random = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        values = random.exponential(size=60)
        estimate = bootstrap(values, lambda sample: float(sample.mean()), seed=trial, resamples=300)
        held += estimate.low <= 1.0 <= estimate.high
    assert 85 <= held <= 99


def test_paired_differences():
    random = np.random.default_rng(1)
    prompts = random.normal(scale=5, size=80)
    one, other = prompts + 0.5 + random.normal(scale=0.3, size=80), prompts + random.normal(scale=0.3, size=80)
    estimate, p = paired_difference(one, other)
    assert estimate.low > 0.3
    assert p < 0.01
    assert estimate.mean == pytest.approx((one - other).mean())
    estimate, p = paired_difference(other, other + random.normal(scale=0.3, size=80))
    assert estimate.low < 0 < estimate.high
    assert p > 0.05
    with pytest.raises(ValueError, match="must be the same ones"):
        paired_difference(one, other[:-1])


def test_what_has_no_interval_is_refused():
    with pytest.raises(ValueError, match="two prompts or more, found 1"):
        bootstrap(np.ones(1), lambda values: 0.0)
    with pytest.raises(ValueError, match=r"prompts \[1\] are NaN \(1 of 3\)"):
        bootstrap(np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]]), lambda values: 0.0)
