"""Sliders sum to one, whichever is moved, however often."""

from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.page import rebalanced
from hf_prosocial.page.shares import WHOLE

moves = st.lists(st.tuples(st.integers(0, 4), st.integers(0, WHOLE)), min_size=1, max_size=20)


@given(moves)
def test_after_any_moves_the_sum_is_one_and_the_moved_one_stays(moved):
    shares = rebalanced([20] * 5, 0)
    for index, value in moved:
        shares[index] = value
        shares = rebalanced(shares, index)
        assert sum(shares) == WHOLE
        assert shares[index] == value
        assert min(shares) >= 0


@given(st.lists(st.integers(0, WHOLE), min_size=2, max_size=8), st.integers(0, WHOLE), st.data())
def test_the_others_keep_their_proportions(shares, value, data):
    moved = data.draw(st.integers(0, len(shares) - 1))
    shares[moved] = value
    found, total = rebalanced(shares, moved), sum(shares) - value
    for index, share in enumerate(shares):
        if index != moved and total:
            assert abs(found[index] - (WHOLE - value) * share / total) < 1


def test_others_that_are_all_nothing_share_equally():
    assert rebalanced([40, 0, 0, 0], 0) == [40, 20, 20, 20]
