"""The out-of-core threshold against a sort of everything."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_prosocial.direg.threshold import NotFiniteError, exact_threshold, requested_entries

# Few distinct values make ties; the extremes are the least subnormal and the greatest finite number of fp32.
values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 2.5, -3e-39, 1.4e-45, -3.4e38, 1e-20]) | st.floats(
    width=32, allow_nan=False, allow_infinity=False
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(values, max_size=20), min_size=1, max_size=5), st.integers(1, 60))
def test_it_is_the_mth_largest_magnitude(lists, requested):
    pieces = [torch.tensor(one, dtype=torch.float32) for one in lists]
    found = exact_threshold(lambda: pieces, requested)
    magnitudes = torch.cat(pieces).abs()
    nonzero = int((magnitudes > 0).sum())
    assert found.nonzero == nonzero
    assert found.requested == requested
    if nonzero == 0:
        assert (found.value, found.kept) == (0.0, 0)
        return
    expected = magnitudes.sort(descending=True).values[min(requested, nonzero) - 1]
    assert found.value == expected.item()
    assert found.kept == int((magnitudes >= expected).sum())


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(NotFiniteError, match="1 entries"):
        exact_threshold(lambda: [torch.tensor([1.0, bad])], 1)


@given(st.integers(1, 10**12))
def test_the_density_counts_as_it_is_written(entries):
    # The float 0.1 is a little more than a tenth, and 0.1 * 30 is 3.0000000000000004.
    assert requested_entries(0.1, entries) == -(-entries // 10)
    assert requested_entries(1.0, entries) == entries
