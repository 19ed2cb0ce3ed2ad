"""Rounding to a checkpoint's dtypes, against torch's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.direg.rounding import from_float32, to_float32
from hf_prosocial.direg.tensors import DTYPES

floats = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20)


@given(floats, st.sampled_from(sorted(DTYPES)))
def test_it_rounds_as_torch_does(values, dtype):
    expected = torch.tensor(values, dtype=torch.float32).to(DTYPES[dtype])
    rounded, finite = from_float32(np.array(values, dtype=np.float32), dtype)
    bits = expected.view(torch.int16).numpy().view(np.uint16) if dtype == "BF16" else expected.numpy()
    assert rounded.dtype == bits.dtype
    assert (rounded == bits).all()
    assert finite == bool(torch.isfinite(expected).all())
    assert (to_float32(rounded, dtype) == expected.float().numpy()).all()


@given(st.integers(0, 2**32 - 1))
def test_any_pattern_of_bits_rounds_to_bfloat16_as_in_torch(bits):
    value = np.array([bits], dtype=np.uint32).view(np.float32)
    rounded, finite = from_float32(value, "BF16")
    expected = torch.from_numpy(value).bfloat16()
    assert finite == bool(torch.isfinite(expected).all())
    if finite:
        assert rounded[0] == expected.view(torch.int16).numpy().view(np.uint16)[0]
