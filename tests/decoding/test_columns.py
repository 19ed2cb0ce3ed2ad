"""Naming the last columns takes what the slice takes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.decoding.columns import named_columns


@given(st.integers(0, 7), st.integers(1, 6))
def test_named_columns_are_the_last_ones(count, length):
    states = torch.rand(2, length, 3)
    columns = named_columns(count, length, states.device)
    taken = states[:, columns] if isinstance(columns, torch.Tensor) else states
    assert torch.equal(taken, states[:, slice(-count, None) if count else slice(None)])
    assert taken.is_contiguous()


def test_columns_that_are_named_stay(base):
    columns = torch.tensor([0, 2])
    assert named_columns(columns, 5, base.device) is columns
