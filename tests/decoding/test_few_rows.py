"""What makes one forward pass quick changes no result: linear layers for a few rows, a cache with room."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import random_base
from torch import nn
from transformers.cache_utils import DynamicLayer

from hf_prosocial.decoding.few_rows import FewRowsLinear, use_few_rows
from hf_prosocial.decoding.roomy_layer import RoomyLayer


@given(st.integers(1, 80), st.booleans(), st.sampled_from([torch.float32, torch.bfloat16]), st.integers(0, 1000))
def test_the_product_is_the_linear_layers(rows, bias, dtype, seed):
    torch.manual_seed(seed)
    layer = nn.Linear(24, 40, bias=bias).to(dtype)
    x = torch.randn(rows, 1, 24).to(dtype)
    expected = layer(x)
    weight = layer.weight.data_ptr()
    use_few_rows(layer)
    assert isinstance(layer, FewRowsLinear)
    assert layer.weight.data_ptr() == weight
    found = layer(x)
    assert found.is_contiguous()
    assert found.dtype == dtype
    # Two orders of adding differ by at most 2n·ε of the products' magnitudes, and each is rounded to dtype once.
    magnitude = x.double().abs() @ layer.weight.double().abs().T + (layer.bias.double().abs() if bias else 0)
    allowed = 2 * (24 * torch.finfo(torch.float32).eps + torch.finfo(dtype).eps) * magnitude
    assert ((found.double() - expected.double()).abs() <= allowed).all()
    assert ((layer(x[:, 0]).double() - expected[:, 0].double()).abs() <= allowed[:, 0]).all()


def test_other_linear_layers_are_left():
    class Special(nn.Linear):
        pass

    model = nn.Sequential(Special(3, 3), nn.Linear(3, 3), nn.Bilinear(2, 2, 2))
    use_few_rows(model)
    assert [type(module) for module in model] == [Special, FewRowsLinear, nn.Bilinear]
    base = random_base("qwen2", seed=1)
    ids = torch.randint(3, 61, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = base(ids).logits
        use_few_rows(base)
        torch.testing.assert_close(base(ids).logits, expected, atol=1e-4, rtol=1e-4)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.integers(1, 90)),
        st.tuples(st.just("crop"), st.integers(0, 40)),
        st.tuples(st.sampled_from(["reorder", "select", "repeat", "reset"]), st.integers(0, 1000)),
    ),
    min_size=1,
    max_size=12,
)


@given(steps)
def test_a_roomy_layer_holds_what_transformers_layer_holds(steps):
    ours, theirs = RoomyLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    rows, snapshots = 3, []
    for kind, number in [("update", 5), *steps]:
        if kind == "update":
            keys, values = (torch.randn(rows, 2, number, 4, generator=generator) for _ in range(2))
            found, expected = ours.update(keys, values), theirs.update(keys, values)
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one, other)
            snapshots.append((found[0], expected[0].clone()))
        elif kind == "crop":
            remove = min(number, theirs.get_seq_length())
            ours.crop(-remove)
            theirs.crop(-remove)
            snapshots.clear()  # What was cropped may be written over.
        elif kind == "reset":
            ours, theirs, rows = RoomyLayer(), DynamicLayer(), 3
        elif kind == "repeat" and rows < 10 and theirs.get_seq_length() > 0:
            ours.batch_repeat_interleave(2)
            theirs.batch_repeat_interleave(2)
            rows *= 2
        elif kind in ("reorder", "select") and theirs.get_seq_length() > 0:
            order = torch.randint(0, rows, (rows,), generator=generator)
            for layer in (ours, theirs):
                layer.reorder_cache(order) if kind == "reorder" else layer.batch_select_indices(order)
        assert ours.get_seq_length() == theirs.get_seq_length()
        for view, copy in snapshots:
            assert torch.equal(view, copy)


def test_room_is_taken_once_for_many_tokens():
    layer = RoomyLayer()
    one = torch.ones(2, 2, 1, 4)
    places = {layer.update(one, one)[0].data_ptr() for _ in range(60)}
    assert len(places) == 1
    assert layer.get_seq_length() == 60


def test_gradients_flow_through():
    layer = RoomyLayer()
    states = torch.ones(2, 2, 3, 4, requires_grad=True)
    keys, values = layer.update(states, 2 * states)
    (keys.sum() + values.sum()).backward()
    assert torch.equal(states.grad, torch.full_like(states, 3.0))


@pytest.mark.parametrize("rows", [2, 5])
def test_prefill_of_many_rows_is_torchs(rows, monkeypatch):
    layer = FewRowsLinear(4, 4)
    monkeypatch.setattr(torch, "mm", None)
    layer(torch.ones(rows, 70, 4))
