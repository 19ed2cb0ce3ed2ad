"""Replies of a pair never see each other, whatever mixes the tokens."""

import logging

import pytest
import torch
from support.mixers import MIXERS, mixer, mixer_arm
from support.models import random_base
from support.training import row_log_prob, training_arguments

from hf_prosocial import ArmTrainer, Preference
from hf_prosocial.arm import PairReading, measure_margins, pair_log_probs
from hf_prosocial.arm.batch import collate
from hf_prosocial.arm.pair_reading import reading_of

PACKED = {"phi3", "qwen2_moe"}


@pytest.mark.parametrize("name", MIXERS)
def test_what_is_found_gives_each_reply_alone(name, pairs, caplog):
    arm = mixer_arm(name, seed=2)
    caplog.set_level(logging.WARNING, "hf_prosocial")
    reading = reading_of(arm, arm.get_base_model(), pairs)
    assert reading.packed == (name in PACKED)
    assert ("reads each reply in a row of its own" in caplog.text) == (name not in PACKED)
    preferences = [Preference.sample(seed=seed) for seed in range(6)]
    arm.set_preference(preferences)
    with torch.no_grad():
        found = pair_log_probs(arm, collate(pairs.rows[:6], pad_token_id=0), reading)
        for row, pair in enumerate(pairs.rows[:6]):
            arm.set_preference(preferences[row])
            alone = [row_log_prob(arm, pair.prompt, reply) for reply in (pair.chosen, pair.rejected)]
            torch.testing.assert_close(found[:, row], torch.stack(alone), atol=1e-3, rtol=1e-4)


def test_replies_leak_where_a_model_is_packed_by_force(pairs):
    """What the trial is for: GPT-Neo takes the mask, and lets the rejected reply see the chosen one."""
    model = mixer("gpt_neo", seed=2)
    batch = collate(pairs.rows[:6], pad_token_id=0)
    with torch.no_grad():
        packed, apart = (
            pair_log_probs(model, batch, PairReading(torch.float32, one, keeps_logits=False)) for one in (True, False)
        )
    torch.testing.assert_close(packed[0], apart[0], atol=1e-3, rtol=1e-4)
    assert (packed[1] - apart[1]).abs().max() > 0.1


def test_a_window_that_is_shorter_than_a_pair(pairs):
    base = random_base("gemma3", seed=2)
    base.config.sliding_window = 512
    assert reading_of(base, base, pairs).packed
    base.config.sliding_window = max(pair.length for pair in pairs.rows) - 1
    assert not reading_of(base, base, pairs).packed


@pytest.mark.parametrize("conflict", ["none", "pcgrad"])
@pytest.mark.parametrize("name", ["mamba", "gpt_neo", "bloom", "jamba"])
def test_training_apart(name, conflict, pairs, tokenizer, tmp_path):
    arm = mixer_arm(name, seed=2)
    for weight_name, weight in arm.named_parameters():
        weight.requires_grad_("pblora_" in weight_name)
    before = {weight_name: weight.clone() for weight_name, weight in arm.named_parameters()}
    options = {"max_steps": 2, "conflict": conflict, "preference_contrast": 1.0}
    ArmTrainer(arm, training_arguments(tmp_path, **options), pairs, tokenizer).train()
    moved = {n for n, weight in arm.named_parameters() if not torch.equal(weight, before[n])}
    assert moved == {n for n in before if "pblora_" in n}
    margins = measure_margins(arm.eval(), pairs, pad_token_id=0)
    assert torch.isfinite(margins.guided).all()


@pytest.mark.parametrize("conflict", ["none", "pcgrad"])
def test_gradients_apart_are_those_of_packed_rows(conflict, pairs, tokenizer, tmp_path):
    gradients = []
    for packed in (True, False):
        arm = mixer_arm("qwen2_moe", seed=2)
        for weight_name, weight in arm.named_parameters():
            weight.requires_grad_("pblora_" in weight_name)
        trainer = ArmTrainer(arm, training_arguments(tmp_path, conflict=conflict), pairs, tokenizer)
        trainer.reading = PairReading(torch.float32, packed)
        arm.train()
        trainer.training_step(arm, collate(pairs.rows[:6], pad_token_id=0), torch.tensor(6.0))
        gradients.append([weight.grad for weight in arm.parameters() if weight.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=5e-5, rtol=1e-3)
