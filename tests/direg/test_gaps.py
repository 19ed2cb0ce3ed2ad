"""Indices as gaps and back, and a compact vector against a plain one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.checkpoints import kept_by, save_copies, tensors_of

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.gaps import SKIP, from_gaps, to_gaps

edges = [0, 1, SKIP - 1, SKIP, SKIP + 1, 2 * SKIP, 2 * SKIP + 1, 2**31 - 1]


@given(st.sets(st.one_of(st.integers(0, 2**18), st.sampled_from(edges), st.integers(0, 2**31 - 1)), max_size=30))
def test_gaps_hold_the_indices(found):
    # The largest index alone would take 2³¹ / 2¹⁶ codes, which is still little.
    indices = np.array(sorted(found), dtype=np.int32)
    codes = to_gaps(indices)
    assert (codes.dtype, len(codes)) == (np.uint16, len(indices) + int((codes == SKIP).sum()))
    assert (from_gaps(codes) == indices).all()


def test_a_compact_vector_is_the_plain_one_rounded_to_fp16(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    plain = HarmVector.extract(base, harmful, 0.2, out=tmp_path / "plain.safetensors")
    compact = HarmVector.extract(base, harmful, 0.2, compact=True, out=tmp_path / "compact.safetensors")
    for name, values in kept_by(plain).items():
        assert torch.equal(kept_by(compact)[name], values.half().float())
    bytes_of = {vector: sum(one.nbytes for one in load_file(vector.file).values()) for vector in (plain, compact)}
    assert bytes_of[compact] == bytes_of[plain] / 2
    safe = tensors_of(compact.subtract(base, 0.5, tmp_path / "safe"))
    for name, values in kept_by(compact).items():
        assert torch.equal(safe[name], tensors_of(base)[name] - 0.5 * values)
    weights = load_file(harmful / "model.safetensors")
    weights["model.norm.weight"][3] = 1e6
    save_file(weights, harmful / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"model\.norm\.weight does not fit fp16"):
        HarmVector.extract(base, harmful, 0.2, compact=True, out=tmp_path / "never.safetensors")
    assert not (tmp_path / "never.safetensors").exists()
