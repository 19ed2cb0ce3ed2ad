"""The prefix search against the plain definition, on small alphabets where rows often share prefixes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_prosocial.decoding.prefix import PrefixHasher, longest_common_prefixes, same_prefix_parents

HASHER = PrefixHasher()


@st.composite
def row_sets(draw):
    """Old rows, and new rows grown from some of them, with lanes."""
    rows, length = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    symbols = st.integers(0, 2)
    old = draw(st.lists(st.lists(symbols, min_size=length, max_size=length), min_size=rows, max_size=rows))
    old_lanes = draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows))
    count, grown = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    parents = draw(st.lists(st.integers(0, rows - 1), min_size=count, max_size=count))
    new = [old[parent] + draw(st.lists(symbols, min_size=grown, max_size=grown)) for parent in parents]
    changed = draw(st.integers(-1, length - 1))
    if changed >= 0:
        new[0][changed] = draw(symbols)
    lanes = [old_lanes[parent] for parent in parents]
    return tuple(map(torch.tensor, (old, old_lanes, new, lanes)))


def common(one, other):
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


@settings(max_examples=300, deadline=None)
@given(row_sets())
def test_parents_are_rows_of_the_lane_that_are_continued_whole(sets):
    old, old_lanes, new, lanes = sets
    parents = same_prefix_parents(HASHER, old, old_lanes, new, lanes)
    possible = [
        any(old_lanes[j] == lanes[i] and common(old[j], new[i]) == old.shape[1] for j in range(len(old)))
        for i in range(len(new))
    ]
    assert (parents is not None) == all(possible)
    if parents is not None:
        assert torch.equal(old[parents], new[:, : old.shape[1]])
        assert torch.equal(old_lanes[parents], lanes)


@settings(max_examples=300, deadline=None)
@given(row_sets())
def test_longest_common_prefixes_by_definition(sets):
    old, old_lanes, new, lanes = sets
    parents, length = longest_common_prefixes(HASHER, old, old_lanes, new, lanes)
    best = [
        max(common(old[j], row) * int(old_lanes[j] == lane) for j in range(len(old)))
        for row, lane in zip(new, lanes, strict=True)
    ]
    assert length == min(best)
    assert torch.equal(old[parents, :length], new[:, :length])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**31))
def test_hashes_of_prefixes_do_not_depend_on_what_follows(length, seed):
    rows = torch.randint(0, 300_000, (2, length), generator=torch.Generator().manual_seed(seed))
    hashes = PrefixHasher()(rows)
    cut = max(1, length // 2)
    assert torch.equal(hashes[:, cut - 1], PrefixHasher().whole(rows[:, :cut]))
    assert torch.equal(hashes[:, -1], HASHER.whole(rows))
    changed = rows.clone()
    changed[:, 0] += 1
    assert (HASHER(changed) != hashes).all()
