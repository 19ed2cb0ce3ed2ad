"""An epoch holds each objective's share of rows, as few repeated as can be, and other rows in the next one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import random_arm
from support.rows import rows
from support.training import training_arguments

from hf_prosocial import OBJECTIVES, ArmTrainer
from hf_prosocial.arm.row_sampling import RowSampler
from hf_prosocial.data import tokenize_rows

objectives_of_rows = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@given(objectives_of_rows, st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.integers(0, 5), st.booleans())
def test_shares(objectives, exponent, epoch, by_length):
    lengths = [10 + row % 7 for row in range(len(objectives))] if by_length else None
    sampler = RowSampler(objectives, lengths, exponent, 4, seed=3)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == len(objectives)
    sizes = Counter(objectives)
    total = sum(size**exponent for size in sizes.values())
    found = Counter(objectives[row] for row in drawn)
    for name, size in sizes.items():
        assert abs(found[name] - len(objectives) * size**exponent / total) < 1
        times = Counter(row for row in drawn if objectives[row] == name)
        # Pieces of an endless walk in passes: a row may come at the end of one pass and the beginning of the next.
        assert max(times.values()) <= -(-found[name] // size) + 1
    assert list(sampler) == drawn
    assert sorted(drawn) == list(range(len(objectives))) or exponent < 1


@given(st.integers(0, 1000))
def test_epochs_walk_through_all_rows(seed):
    objectives = [0] * 12 + [1] * 4
    sampler = RowSampler(objectives, None, 0.0, 4, seed)
    seen = Counter()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        seen.update(sampler)
    assert {seen[row] for row in range(12)} == {2}  # 3 epochs of 8
    assert {seen[row] for row in range(12, 16)} == {6}


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_the_trainer_draws_objectives_evenly(tokenizer, tmp_path, strategy):
    pairs = tokenize_rows(rows(OBJECTIVES, 40), tokenizer, OBJECTIVES, max_length=80)
    pairs.rows = [pair for pair in pairs.rows if pair.objective < 2 or pair.line < 10]
    options = {"objective_exponent": 0.0, "train_sampling_strategy": strategy, "num_train_epochs": 2, "max_steps": -1}
    trainer = ArmTrainer(random_arm("llama", seed=2), training_arguments(tmp_path, **options), pairs, tokenizer)
    seen = []
    log_rows = trainer.figures.add_rows

    def add_rows(objective, *values):
        seen.extend(objective.tolist())
        log_rows(objective, *values)

    trainer.figures.add_rows = add_rows
    lines = []
    loss = trainer.compute_loss
    trainer.compute_loss = lambda model, inputs, **options: (
        lines.extend(inputs["line"].tolist()) or loss(model, inputs, **options)
    )
    trainer.train()
    assert lines[: len(pairs.rows)] != lines[len(pairs.rows) :]
    assert len(seen) == 2 * len(pairs.rows)
    counts = Counter(seen)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_an_exponent_outside_its_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match="objective_exponent must be in"):
        training_arguments(tmp_path, objective_exponent=1.5)
