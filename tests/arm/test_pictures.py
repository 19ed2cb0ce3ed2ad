"""The pictures show the log's figures, and gaps where there are none."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.models import random_arm
from support.rows import rows
from support.training import training_arguments

from hf_prosocial import OBJECTIVES, ArmTrainer
from hf_prosocial.arm.pictures import draw_training
from hf_prosocial.data import tokenize_rows


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, file, dpi: figures.append(self))
    return figures


def test_a_training_is_drawn(tmp_path, tokenizer, drawn):
    pairs = tokenize_rows(rows(OBJECTIVES, 20), tokenizer, OBJECTIVES, max_length=80)
    args = training_arguments(tmp_path, max_steps=5, per_device_train_batch_size=3)
    trainer = ArmTrainer(random_arm("llama", seed=2), args, pairs, tokenizer)
    trainer.train()
    log = trainer.state.log_history
    assert draw_training(log, OBJECTIVES, tmp_path) == ["training-curves.png", "training-conflicts.png"]
    curves, conflicts = drawn
    raw = curves.axes[0].lines[2 * 3]
    expected = [line.get("accuracy/truthfulness", math.nan) for line in log if "loss" in line]
    assert any(map(math.isnan, expected))  # three rows a step, five objectives
    np.testing.assert_array_equal(raw.get_ydata(), expected)
    cosines = conflicts.axes[0].collections[0].get_array().reshape(10, 5)
    for step, line in enumerate(line for line in log if "loss" in line):
        found = cosines[0, step]
        expected = line.get("cosine/empathy~sensitivity")
        assert np.ma.is_masked(found) or math.isnan(found) if expected is None else found == pytest.approx(expected)


def test_without_figures_there_is_no_picture(tmp_path, drawn):
    assert draw_training([{"train_runtime": 1.0, "step": 3}], OBJECTIVES, tmp_path) == []
    lines = [{"loss": 1.0, "step": step, "accuracy/empathy": 0.5, "margin/empathy": 0.1} for step in (10, 20)]
    assert draw_training(lines, OBJECTIVES, tmp_path) == ["training-curves.png"]
    assert drawn[0].axes[0].lines[1].get_ydata().tolist() == [0.5, 0.5]
