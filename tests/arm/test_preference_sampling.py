"""How rows draw their preferences."""

from math import comb

import numpy as np
import pytest
import torch

from hf_prosocial.arm.preference_sampling import PreferenceSampler


def test_size_biased_draws_have_the_same_expected_loss():
    """E over Dirichlet(α) of p_i f(p) equals (1/k) E over the size-biased draws of f(p), for any f."""
    k, count = 3, 20_000
    lines = list(range(count))

    def drawn(sampling):
        return PreferenceSampler(k, sampling, concentration=0.4, seed=5).draw([1] * count, lines, step=0)

    def f(p):
        return (p * torch.tensor([1.0, -2.0, 0.5])).sum(-1).exp() + p[:, 2] ** 2

    estimates = []
    for sampling in ("dirichlet", "size_biased"):
        p, weight = drawn(sampling)
        torch.testing.assert_close(p.sum(-1), torch.ones(count))
        estimates.append(weight * f(p))
    means = [estimate.mean().item() for estimate in estimates]
    error = sum((estimate.std() ** 2 / count).item() for estimate in estimates) ** 0.5
    assert abs(means[0] - means[1]) < 4 * error
    # A loss that hardly depends on p is where most draws of the plain kind are wasted.
    _, plain = drawn("dirichlet")
    _, biased = drawn("size_biased")
    assert plain.mean().item() == pytest.approx(biased.mean().item(), abs=0.01)
    assert biased.std() < 1e-6 < plain.std()


@pytest.mark.parametrize("sampling", ["dirichlet", "size_biased", "grid"])
def test_draws_depend_on_seed_step_line_and_draw_alone(sampling):
    sampler = PreferenceSampler(5, sampling, concentration=0.5, seed=1, divisions=9)
    p, _ = sampler.draw([0, 1, 2], [7, 8, 9], step=3)
    again, _ = sampler.draw([2, 1], [9, 8], step=3)
    assert torch.equal(p[[2, 1]], again)
    for seed, step, draw in ((2, 3, 0), (1, 4, 0), (1, 3, 1)):
        other = PreferenceSampler(5, sampling, concentration=0.5, seed=seed, divisions=9)
        assert not torch.equal(p, other.draw([0, 1, 2], [7, 8, 9], step=step, draw=draw)[0])


def test_a_step_has_one_preference():
    sampler = PreferenceSampler(5, "step", concentration=0.5, seed=1)
    p, weights = sampler.draw([0, 1, 2], [7, 8, 9], step=3)
    assert (p == p[0]).all()
    assert torch.equal(weights, p[0, :3])
    assert not torch.equal(p, sampler.draw([0, 1, 2], [7, 8, 9], step=4)[0])


@pytest.mark.parametrize(("k", "divisions"), [(1, 2), (2, 1), (3, 4), (5, 3)])
def test_the_grid_is_the_simplex_in_steps(k, divisions):
    sampler = PreferenceSampler(k, "grid", concentration=1.0, seed=0, divisions=divisions)
    points = sampler.grid()
    assert len(points) == len(np.unique(points, axis=0)) == comb(divisions + k - 1, k - 1)
    assert np.allclose(points.sum(-1), 1)
    assert np.allclose(points * divisions, np.round(points * divisions))
    count = 200 * len(points)
    p, weights = sampler.draw([0] * count, list(range(count)), step=0)
    assert torch.equal(weights, p[:, 0])
    drawn, counts = np.unique(p.numpy(), axis=0, return_counts=True)
    assert len(drawn) == len(points)
    assert counts.min() > 100
    if len(points) == k:
        with pytest.raises(ValueError, match="no point but the corners"):
            PreferenceSampler(k, "grid", concentration=1.0, seed=0, divisions=divisions, corners=False)
    else:
        inner = PreferenceSampler(k, "grid", concentration=1.0, seed=0, divisions=divisions, corners=False).grid()
        assert len(inner) == len(points) - k
        assert inner.max() < 1
