"""The trainer's loss and updates against their definition, row by row, with autograd as the oracle."""

import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.models import random_arm, random_base
from support.rows import rows
from support.training import assert_close, defined_loss, row_log_prob, trained, training_arguments
from transformers import set_seed

from hf_prosocial import OBJECTIVES, ArmTrainer, PBLoraConfig, Preference
from hf_prosocial.arm import PairReading, pair_log_probs
from hf_prosocial.arm.batch import collate
from hf_prosocial.data import tokenize_rows
from hf_prosocial.io import one_writer


def test_packed_log_probs_are_those_of_each_reply_alone(pairs, family):
    base = random_base(family, seed=2)
    if family == "gemma3":
        base.config.sliding_window = 64
    arm = random_arm(family, seed=2, base=base)
    preferences = [Preference.sample(seed=seed) for seed in range(6)]
    arm.set_preference(preferences)
    with torch.no_grad():
        packed = pair_log_probs(arm, collate(pairs.rows[:6], pad_token_id=0), PairReading(arm.dtype))
        for row, pair in enumerate(pairs.rows[:6]):
            arm.set_preference(preferences[row])
            alone = [row_log_prob(arm, pair.prompt, reply) for reply in (pair.chosen, pair.rejected)]
            torch.testing.assert_close(packed[:, row], torch.stack(alone), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("sampling", ["dirichlet", "size_biased"])
@pytest.mark.parametrize("contrast", [0.0, 1.5])
@pytest.mark.parametrize("length_free", [False, True])
@pytest.mark.parametrize(("relative", "rpo_alpha"), [(False, 0.0), (True, 0.0), (True, 0.7)])
def test_loss_and_gradient_are_the_definition(
    pairs, tokenizer, tmp_path, sampling, contrast, length_free, relative, rpo_alpha
):
    args = training_arguments(
        tmp_path,
        preference_sampling=sampling,
        preference_contrast=contrast,
        conflict="none",
        length_free=length_free,
        relative_to_base=relative,
        rpo_alpha=rpo_alpha,
    )
    arm = random_arm("llama", seed=2)
    trainer = ArmTrainer(arm, args, pairs, tokenizer)
    batch = collate(pairs.rows[:4], pad_token_id=0)
    loss = trainer.compute_loss(arm, batch)
    parameters = [weight for weight in arm.parameters() if weight.requires_grad]
    ours = torch.autograd.grad(loss, parameters)
    expected = defined_loss(arm, pairs.rows[:4], args)
    theirs = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=5e-5, rtol=1e-3)


@pytest.mark.parametrize(("dropout", "relative"), [(0.0, False), (0.3, False), (0.3, True)])
def test_accumulated_micro_batches_give_the_update_of_the_whole_batch(pairs, tokenizer, tmp_path, dropout, relative):
    sgd = {"optim": "sgd", "learning_rate": 1e-2, "max_steps": 2, "lr_scheduler_type": "constant"}
    sgd |= {"dropout": dropout, "preference_contrast": 1.0, "relative_to_base": relative}
    whole = trained(pairs, tokenizer, tmp_path, per_device_train_batch_size=8, **sgd)
    parts = trained(pairs, tokenizer, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **sgd)
    assert_close(whole, parts, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_changes_no_update(pairs, tokenizer, tmp_path, dropout):
    sgd = {"optim": "sgd", "learning_rate": 1.0, "dropout": dropout}
    plain = trained(pairs, tokenizer, tmp_path, **sgd)
    checkpointed = trained(pairs, tokenizer, tmp_path, gradient_checkpointing=True, **sgd)
    assert_close(plain, checkpointed, atol=1e-6, rtol=1e-5)


def test_dropout_changes_the_update(pairs, tokenizer, tmp_path):
    sgd = {"optim": "sgd", "learning_rate": 1.0}
    plain, dropped = (trained(pairs, tokenizer, tmp_path, dropout=dropout, **sgd) for dropout in (0.0, 0.3))
    assert any((plain[name] - dropped[name]).abs().max() > 1e-3 for name in plain)


def test_training_separates_the_pairs(pairs, tokenizer, tmp_path):
    arm = get_peft_model(random_base("llama", seed=2), PBLoraConfig(target_modules=["q_proj", "k_proj", "v_proj"]))
    options = {"max_steps": 40, "learning_rate": 2e-2, "w2_learning_rate_ratio": 2.0, "logging_steps": 1}
    trainer = ArmTrainer(arm, training_arguments(tmp_path, **options), pairs, tokenizer, eval_dataset=pairs)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    rates = {group["initial_lr"] for group in trainer.optimizer.param_groups}
    assert rates == {2e-2, 4e-2}


def test_save_and_resume(pairs, tokenizer, tmp_path):
    options = {"max_steps": 6, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 3}
    whole = trained(pairs, tokenizer, tmp_path / "whole", **options)
    set_seed(0)
    arm = random_arm("llama", seed=2)
    trainer = ArmTrainer(arm, training_arguments(tmp_path / "again", **options), pairs, tokenizer)
    trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    resumed = {name: weight.detach() for name, weight in arm.named_parameters() if weight.requires_grad}
    assert_close(whole, resumed, atol=1e-6, rtol=1e-5)
    state = json.loads((tmp_path / "whole" / "checkpoint-6" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_resumed_training_takes_no_step_beyond_the_last(pairs, tokenizer, tmp_path, by_name):
    options = {"max_steps": 5, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}
    options |= {"lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
    whole = trained(pairs, tokenizer, tmp_path, **options)
    arm = random_arm("llama", seed=2)
    trainer = ArmTrainer(arm, training_arguments(tmp_path, **options), pairs, tokenizer)
    result = trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5") if by_name else True)
    assert result.global_step == trainer.state.global_step == 5
    assert not (tmp_path / "checkpoint-6").exists()
    again = {name: weight.detach() for name, weight in arm.named_parameters() if weight.requires_grad}
    assert_close(whole, again, atol=0, rtol=0)


def test_rows_of_similar_length_come_together(tokenizer, tmp_path):
    pairs = tokenize_rows(rows(OBJECTIVES, 80), tokenizer, OBJECTIVES, max_length=80)
    pairs.rows = [replace(pair, prompt=pair.prompt * (1 + pair.line % 4)) for pair in pairs.rows]
    args = training_arguments(tmp_path, train_sampling_strategy="group_by_length")
    trainer = ArmTrainer(random_arm("llama", seed=2), args, pairs, tokenizer)
    lengths = [pair.packed_length for pair in pairs.rows]
    batches = [[line - 1 for line in batch["line"].tolist()] for batch in trainer.get_train_dataloader()]
    assert sorted(line for batch in batches for line in batch) == list(range(80))
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < (max(lengths) - min(lengths)) / 3
    assert max(lengths) in [lengths[i] for i in batches[0]]


def test_one_folder_has_one_training(pairs, tokenizer, tmp_path):
    arm = random_arm("llama", seed=2)
    trainer = ArmTrainer(arm, training_arguments(tmp_path / "out"), pairs, tokenizer)
    with one_writer(tmp_path / "out"), pytest.raises(FileExistsError, match=f"is writing out in {tmp_path}"):
        trainer.train()
    assert list((tmp_path / "out").iterdir()) == []
    trainer.train()
    trainer.train()


def test_what_cannot_be_trained_is_refused(pairs, tokenizer, tmp_path):
    arm = random_arm("llama", seed=2)
    lora = get_peft_model(random_base("llama", seed=1), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ValueError, match=r"with a PBLoRA adapter .* found PeftModel around LoraModel"):
        ArmTrainer(lora, training_arguments(tmp_path), pairs, tokenizer)
    other = tokenize_rows(rows(("wit", "calm"), 4), tokenizer, ("wit", "calm"), max_length=80)
    with pytest.raises(ValueError, match=r"labelled for \['wit', 'calm'\], the adapter has \['empathy'"):
        ArmTrainer(arm, training_arguments(tmp_path), other, tokenizer)
    reentrant = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    with pytest.raises(ValueError, match="must be non-reentrant"):
        ArmTrainer(arm, training_arguments(tmp_path, **reentrant), pairs, tokenizer)
    for bad in (
        {"beta_r": 0.0},
        {"preference_concentration": -1.0},
        {"w2_learning_rate_ratio": 0.0},
        {"preference_contrast": -0.5},
        {"rpo_alpha": -1.0},
        {"preference_contrast": float("nan")},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            training_arguments(tmp_path, **bad)


def test_a_training_that_diverged_saves_nothing(pairs, tokenizer, tmp_path):
    args = training_arguments(tmp_path / "out", learning_rate=1e38, max_steps=3)
    trainer = ArmTrainer(random_arm("llama", seed=2), args, pairs, tokenizer)
    with pytest.raises(ValueError, match=r"the training diverged: \d+ of the adapter's \d+ tensors"):
        trainer.train()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_steps": -1, "num_train_epochs": 0}, "num_train_epochs must be above 0"),
        ({"max_steps": -1, "num_train_epochs": -3.0}, "num_train_epochs must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be 0 or above, found nan"),
        ({"learning_rate": -1.0}, "learning_rate must be 0 or above"),
        ({"seed": -1}, "seed must be 0 or above"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps must be 1 or more"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size must be 1 or more"),
    ],
)
def test_arguments_that_train_nothing(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        training_arguments(tmp_path, **options)
