"""Cosines of mean gradients: exact without noise, right under much of it, and their intervals as wide as the spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gradient_cosines import Gradients, gradient_cosines

NOISE_OF_SAMPLE = 3.0  # times the mean's length


def samples(seed: int, cosine: float, n: int, noise: float, entries: int = 2000) -> Gradients:
    """Two objectives, whose means of length 1 have that cosine."""
    random = np.random.default_rng(seed)
    one, across = np.linalg.qr(random.standard_normal((entries, 2)))[0].T
    means = np.stack([one, cosine * one + np.sqrt(1 - cosine**2) * across])
    return means[:, None] + noise / np.sqrt(entries) * random.standard_normal((2, n, entries))


@given(seed=st.integers(0, 2**32), cosine=st.floats(-1, 1))
@settings(deadline=None, max_examples=30)
def test_without_noise_it_is_the_cosine(seed: int, cosine: float) -> None:
    found = gradient_cosines(samples(seed, cosine, n=4, noise=0.0))
    assert found.cosines[0][1].mean == pytest.approx(cosine, abs=1e-9)
    assert found.cosines[0][1].high - found.cosines[0][1].low < 1e-6
    assert found.signal == pytest.approx([1, 1])


@pytest.mark.parametrize("cosine", [-0.8, 0.0, 0.6])
def test_noise_does_not_pull_it_to_zero_and_the_interval_is_as_wide_as_the_spread(cosine: float) -> None:
    drawn = [samples(seed, cosine, n=20, noise=NOISE_OF_SAMPLE) for seed in range(60)]
    several = [gradient_cosines(one) for one in drawn]
    values = np.array([one.cosines[0][1].mean for one in several])
    said = np.array([(one.cosines[0][1].high - one.cosines[0][1].low) / 2 / 1.96 for one in several])
    assert values.mean() == pytest.approx(cosine, abs=4 * values.std() / np.sqrt(60) + 0.01)
    assert 0.7 < said.mean() / values.std() < 1.4
    plain = np.mean([np.corrcoef(one[0, 0], one[1, 0])[0, 1] for one in drawn])
    assert plain == pytest.approx(cosine / (1 + NOISE_OF_SAMPLE**2), abs=0.02)
    assert np.mean([one.signal for one in several]) == pytest.approx(1 / (1 + NOISE_OF_SAMPLE**2), rel=0.1)


def test_a_gradient_that_is_nothing_but_noise_has_no_cosine() -> None:
    random = np.random.default_rng(5)
    unknown = 0
    for _ in range(40):
        found = gradient_cosines(random.standard_normal((2, 10, 500))).cosines[0][1]
        unknown += np.isnan(found.mean)
        assert np.isnan(found.mean) == np.isnan(found.low) == np.isnan(found.high)
    assert unknown >= 36


def test_two_samples_are_too_few() -> None:
    with pytest.raises(ValueError, match="three or more"):
        gradient_cosines(samples(0, 0.5, n=2, noise=1.0))
