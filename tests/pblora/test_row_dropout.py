"""Masks that are a row's own: right in rate, apart by row, layer and position, the same however rows are batched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.pblora import seed_rows
from hf_prosocial.pblora.row_dropout import RowDropout, row_mask


@given(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4), st.sampled_from([0.05, 0.3, 0.9]))
def test_the_rate_is_right_and_masks_are_apart(words, p):
    seeds = torch.tensor([words[:2], words[2:]])
    masks = row_mask(seeds, 60, 64, p).float()
    entries = masks[0].numel()
    deviation = (p * (1 - p) / entries) ** 0.5
    assert (masks.flatten(1).mean(1) - (1 - p)).abs().max() < 6 * deviation
    centred = masks - (1 - p)
    assert ((centred[0, 1:] * centred[0, :-1]).mean()).abs() < 7 * p * (1 - p) / entries**0.5
    if words[:2] != words[2:]:
        assert ((centred[0] * centred[1]).mean()).abs() < 7 * p * (1 - p) / entries**0.5


def test_a_row_keeps_its_mask_in_any_batch():
    seeds = torch.randint(0, 2**32, (5, 2), generator=torch.Generator().manual_seed(0))
    whole = row_mask(seeds, 30, 16, 0.4)
    for row in range(5):
        assert torch.equal(row_mask(seeds[row : row + 1], 12, 16, 0.4)[0], whole[row, :12])


def test_layers_have_masks_of_their_own_and_expectation_is_kept():
    model = torch.nn.Sequential(RowDropout(0.25), RowDropout(0.25))
    seed_rows(model, [(7, 0, row) for row in range(40)])
    x = torch.ones(40, 50, 32)
    first, second = (layer(x) for layer in model)
    assert not torch.equal(first, second)
    assert first.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert first.mean() == pytest.approx(1.0, abs=0.02)
    again = torch.nn.Sequential(RowDropout(0.25), RowDropout(0.25))
    seed_rows(again, [(7, 0, 3)])
    assert torch.equal(again[1](x[:1])[0], second[3])
    assert torch.equal(model.eval()(x), x)


def test_without_seeds_it_is_plain_dropout_and_other_rows_are_refused():
    layer = RowDropout(0.5)
    torch.manual_seed(0)
    ours = layer(torch.ones(3, 4))
    torch.manual_seed(0)
    assert torch.equal(ours, torch.nn.Dropout(0.5)(torch.ones(3, 4)))
    seed_rows(layer, [(0, 1), (0, 2)])
    with pytest.raises(ValueError, match="2 rows have a seed for dropout, but the input has the shape"):
        layer(torch.ones(3, 4, 5))
    seed_rows(layer, None)
    layer(torch.ones(3, 4, 5))
