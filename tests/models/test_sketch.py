"""The same weights, however stored, are told from others: rounded, quantised, fine-tuned, edited."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import ModelWeights, distance, sketch_of


def network(seed, *, scale=0.05):
    torch.manual_seed(seed)
    model = nn.Sequential(*(nn.Linear(64, 96, bias=False) for _ in range(8)))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=scale)
    return model


def quantised(model, name):
    kind, found = GGMLQuantizationType[name], copy.deepcopy(model)
    for weight in found.parameters():
        stored = quants.dequantize(quants.quantize(weight.data.numpy(), kind), kind)
        weight.data = torch.from_numpy(stored.copy()).float().view_as(weight)
    return found


def compared(recorded, found):
    return distance(sketch_of(ModelWeights(recorded)), ModelWeights(found), hashed=False)


def seeds():
    return st.integers(0, 2**31 - 1)


@settings(max_examples=10)
@given(seeds(), st.sampled_from(["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]), st.booleans())
def test_a_quantised_copy_is_the_same_from_either_side(seed, kind, recorded_first):
    model = network(seed)
    pair = (model, quantised(model, kind))
    found = compared(*(pair if recorded_first else reversed(pair)))
    assert found.same, str(found)


@settings(max_examples=10)
@given(seeds(), st.sampled_from([torch.bfloat16, torch.float16, torch.float64]), st.booleans())
def test_a_rounded_copy_is_the_same_from_either_side(seed, dtype, recorded_first):
    model = network(seed)
    pair = (model, copy.deepcopy(model).to(dtype))
    found = compared(*(pair if recorded_first else reversed(pair)))
    assert found.same, str(found)
    assert found.outside == 0


@settings(max_examples=10)
@given(seeds(), st.sampled_from(["Q4_1", "Q8_0", None]), st.sampled_from([0.02, 0.1, 0.5]))
def test_a_fine_tuned_copy_is_another(seed, kind, size):
    """A change that every weight takes part in, of some share of their size."""
    model = network(seed)
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        for weight in tuned.parameters():
            weight.add_(torch.randn_like(weight) * size * weight.std())
    recorded = model if kind is None else quantised(model, kind)
    assert not compared(recorded, tuned if kind is None else quantised(tuned, kind)).same


@given(seeds())
def test_other_weights_are_others(seed):
    assert not compared(network(seed), network(seed + 1)).same


@pytest.mark.parametrize(("edit", "said"), [("drop", "is missing"), ("scale", "root mean square")])
def test_what_is_another_at_once_says_why(edit, said):
    model = network(1)
    found = copy.deepcopy(model)
    if edit == "drop":
        del found[3]
    else:
        found[3].weight.data *= 1.1
    other = compared(model, found)
    assert not other.same
    assert said in str(other)


@settings(max_examples=10)
@given(seeds(), st.sampled_from([None, torch.bfloat16, torch.float16]), st.integers(0, 31))
def test_one_damaged_entry_is_another_model(seed, dtype, entry):
    """Where nothing was rounded to steps, no entry is off by chance."""
    model = network(seed)
    sketch = sketch_of(ModelWeights(model))
    found = copy.deepcopy(model).to(dtype)
    name, block = list(sketch.blocks.items())[seed % len(sketch.blocks)]
    with torch.no_grad():
        found.get_parameter(name).flatten()[block.start + entry] += 0.01
    off = distance(sketch, ModelWeights(found), hashed=False)
    assert (off.same, off.outside) == (False, 1)


@settings(max_examples=10)
@example(3494, None, torch.bfloat16, torch.float16)  # An entry among the smallest that fp16 has.
@given(
    seeds(),
    st.sampled_from([None, torch.bfloat16, torch.float16]),
    st.sampled_from([torch.bfloat16, torch.float16]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_narrow_weights_in_another_dtype_are_the_same(seed, recorded_through, through, dtype):
    model = network(seed)
    recorded = model if recorded_through is None else copy.deepcopy(model).to(recorded_through)
    assert compared(recorded, copy.deepcopy(model).to(through).to(dtype)).same


def test_weights_beyond_the_recorded_ones_are_others_unless_they_are_tied():
    model = network(4)
    for extra, same in ((nn.Linear(64, 96, bias=False), False), (copy.deepcopy(model[2]), True)):
        assert compared(model, copy.deepcopy(model).append(extra).to(torch.bfloat16)).same == same


@pytest.mark.parametrize("layer", range(8))
def test_weights_that_are_not_numbers_are_others(layer):
    found = network(5).to(torch.bfloat16)
    found[layer].weight.data[-1] = torch.nan
    assert not compared(network(5), found).same


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn])
def test_quantised_storage_is_told(dtype):
    found = network(6)
    found[0].weight = nn.Parameter(found[0].weight.data.to(dtype), requires_grad=False)
    assert "cannot be compared; load the base without quantisation" in str(compared(network(6), found))


@pytest.mark.parametrize("broken", [{"dtype": "int4"}, {"start": -5}, {"values": ""}])
def test_a_broken_sketch_is_an_error(broken):
    sketch = sketch_of(ModelWeights(network(7)))
    if "dtype" in broken:
        sketch = replace(sketch, **broken)
    else:
        name = next(iter(sketch.blocks))
        sketch = replace(sketch, blocks=sketch.blocks | {name: replace(sketch.blocks[name], **broken)})
    with pytest.raises(ProsocialError, match="a sketch of weights"):
        distance(sketch, ModelWeights(network(7)), hashed=False)


def test_equal_samples_with_another_hash_are_an_edit():
    model = network(2)
    sketch = sketch_of(ModelWeights(model))
    found = distance(sketch, ModelWeights(copy.deepcopy(model)), hashed=True)
    assert not found.same
    assert "others were edited" in str(found)


def test_a_sketch_is_a_few_hundred_numbers_and_is_read_back():
    sketch = sketch_of(ModelWeights(network(3)))
    assert len(sketch.norms) == 8
    assert sum(len(block.entries()) for block in sketch.blocks.values()) == 8 * 32
    for name, block in sketch.blocks.items():
        entries = ModelWeights(network(3)).read(name, block.start, block.start + 32)
        np.testing.assert_array_equal(block.entries(), entries)
