"""Margins against each reply scored alone; their statistics against the definitions."""

import math

import pytest
import torch
from support.models import random_arm
from support.rows import rows
from support.training import row_log_prob

from hf_prosocial import OBJECTIVES, Preference
from hf_prosocial.arm import Margins
from hf_prosocial.arm.margins import measure_margins
from hf_prosocial.arm.report import margin_summary, margin_table
from hf_prosocial.data import tokenize_rows
from hf_prosocial.estimates import proportion


@pytest.fixture
def pairs(tokenizer):
    return tokenize_rows(rows(OBJECTIVES, 15), tokenizer, OBJECTIVES, max_length=80)


def test_scores_are_those_of_each_reply_alone(pairs):
    arm = random_arm("llama", seed=2)
    arm.set_preference(Preference.one_hot("empathy"))
    margins = measure_margins(arm, pairs, pad_token_id=0, batch_tokens=150)
    assert arm.base_model.preference_state.get("default").tolist() == [1, 0, 0, 0, 0]
    preferences = [*(Preference.one_hot(name) for name in OBJECTIVES), Preference.uniform()]
    with torch.no_grad():
        for index, pair in enumerate(pairs.rows):
            for which, reply in enumerate((pair.chosen, pair.rejected)):
                assert margins.tokens[which, index] == len(reply)
                for row, preference in enumerate(preferences):
                    arm.set_preference(preference)
                    expected = row_log_prob(arm, pair.prompt, reply)
                    torch.testing.assert_close(margins.guided[row, which, index], expected, atol=1e-3, rtol=1e-4)
                with arm.disable_adapter():
                    expected = row_log_prob(arm, pair.prompt, reply)
                torch.testing.assert_close(margins.base[which, index], expected, atol=1e-3, rtol=1e-4)


def made_margins(pairs=40, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Margins(
        ("warmth", "truth"),
        torch.arange(pairs) % 2,
        torch.randint(3, 30, (2, pairs), generator=random).float(),
        -10 * torch.rand(2, pairs, generator=random),
        -10 * torch.rand(3, 2, pairs, generator=random),
    )


@pytest.mark.parametrize("per_token", [False, True])
def test_statistics_are_their_definitions(per_token):
    margins = made_margins()
    delta = torch.empty(3, 40)
    for row in range(3):
        for pair in range(40):
            gains = margins.guided[row, :, pair] - margins.base[:, pair]
            if per_token:
                gains = gains / margins.tokens[:, pair]
            delta[row, pair] = gains[0] - gains[1]
    torch.testing.assert_close(margins.margin(per_token=per_token), delta)
    for objective in range(2):
        own = margins.objective == objective
        assert margins.accuracy(objective, 2, per_token=per_token).mean == (delta[2, own] > 0).float().mean()
        for row in range(2):
            cell = margins.control_cell(row, objective, per_token=per_token)
            assert cell.mean == pytest.approx(delta[row, own].mean().item(), abs=1e-5)
            half = 1.959964 * delta[row, own].std().item() / math.sqrt(20)
            assert cell.high - cell.mean == pytest.approx(half, rel=1e-4)
            assert margins.control_matrix(per_token=per_token)[row, objective] == pytest.approx(cell.mean, abs=1e-5)
        paired = delta[objective, own] - delta[1 - objective, own]
        control = margins.control(objective, per_token=per_token)
        assert control.mean == pytest.approx(paired.mean().item(), abs=1e-5)
        assert control.low == pytest.approx(control.mean - 1.959964 * paired.std().item() / math.sqrt(20), abs=1e-4)


def test_wilson_intervals_and_ties():
    # Eight of ten: (0.4902, 0.9433), as tabulated.
    eight = proportion(torch.tensor([1.0] * 8 + [-1.0] * 2))
    assert (eight.low, eight.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert proportion(torch.zeros(6)).mean == 0.5
    assert math.isnan(proportion(torch.zeros(0)).mean)


def test_the_summary_and_the_table_hold_the_figures():
    margins = made_margins()
    summary = margin_summary(margins)
    table = margin_table(summary)
    own = [margins.accuracy(index, index, per_token=True).mean for index in range(2)]
    assert summary.mean_accuracy == pytest.approx(sum(own) / 2)
    cell = margins.control_cell(1, 0, per_token=True)
    assert summary.control_matrix[1][0] == pytest.approx(cell.mean, abs=1e-5)
    assert summary.control_half_widths[1][0] == pytest.approx(cell.high - cell.mean)
    assert f"{cell.mean:+.3f} ± {cell.high - cell.mean:.3f}" in table
    assert f"{own[0]:.3f} [" in table
