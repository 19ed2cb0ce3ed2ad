"""Conflicting gradients: the weights against TorchJD and against the projections themselves, the update against k
separate backward passes."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import random_arm
from support.training import assert_close, defined_loss, trained, training_arguments
from torchjd.aggregation import PCGradWeighting, UPGrad

from hf_prosocial import ArmTrainer
from hf_prosocial.arm.conflict import conflict_weights, pcgrad_weights, projection_orders

seeds = st.integers(0, 2**31)


def jacobian(seed, k=5, columns=7):
    """Gradients as rows, of very different lengths."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-2, 2, k, dtype=torch.float64)[torch.randperm(k, generator=generator)]
    return torch.randn(k, columns, generator=generator, dtype=torch.float64) * scales[:, None]


@given(seeds, st.integers(1, 6))
def test_pcgrad_is_the_projection_of_vectors(seed, k):
    gradients = jacobian(seed, k)
    orders = projection_orders(k, seed, step=3)
    update = torch.zeros(gradients.shape[1], dtype=torch.float64)
    for objective, order in enumerate(orders):
        projected = gradients[objective].clone()
        for other in order:
            product = projected @ gradients[other]
            if product < 0:
                projected -= product / (gradients[other] @ gradients[other]) * gradients[other]
        update += projected
    weights = pcgrad_weights(gradients @ gradients.T, orders)
    torch.testing.assert_close(weights @ gradients, update, rtol=1e-7, atol=1e-7)


@given(seeds)
def test_pcgrad_is_torchjds_with_the_same_orders(seed):
    gradients = jacobian(seed)
    gramian = gradients @ gradients.T
    torch.manual_seed(seed)
    theirs = PCGradWeighting()(gramian)
    torch.manual_seed(seed)
    drawn = [torch.randperm(5).tolist() for _ in range(5)]
    orders = [[other for other in order if other != objective] for objective, order in enumerate(drawn)]
    torch.testing.assert_close(pcgrad_weights(gramian, orders), theirs)


@given(seeds)
def test_upgrad_conflicts_with_none_and_is_torchjds_sum(seed):
    gradients = jacobian(seed, k=3)
    gramian = gradients @ gradients.T
    weights = conflict_weights(gramian, [0, 1, 2], "upgrad", seed=0, step=0)
    expected = UPGrad(pref_vector=torch.ones(3, dtype=torch.float64))(gradients)
    torch.testing.assert_close(weights @ gradients, expected, rtol=1e-6, atol=1e-6)


@given(seeds, st.sets(st.integers(0, 4)), st.sampled_from(["pcgrad", "upgrad", "none"]))
def test_objectives_without_rows_stay_out(seed, present, conflict):
    gradients = jacobian(seed)
    absent = sorted(set(range(5)) - present)
    gradients[absent] = 0
    weights = conflict_weights(gradients @ gradients.T, sorted(present), conflict, seed=1, step=2)
    assert torch.isfinite(weights).all()
    assert not weights[absent].any()
    if present:
        chosen = gradients[sorted(present)]
        alone = conflict_weights(chosen @ chosen.T, range(len(present)), conflict, seed=1, step=2)
        torch.testing.assert_close(weights[sorted(present)], alone)
    if conflict == "none":
        assert (weights[sorted(present)] == 1).all()


def test_orders_depend_on_seed_and_step_alone():
    assert projection_orders(5, 1, 2) == projection_orders(5, 1, 2)
    assert len({str(projection_orders(5, seed, step)) for seed in range(3) for step in range(3)}) == 9
    assert all(sorted([*order, index]) == list(range(5)) for index, order in enumerate(projection_orders(5, 7, 9)))


def separate_gradients(arm, chosen, args):
    """g_i by k backward passes over METHOD's loss, row by row; and the parameters by name."""
    parameters = {name: weight for name, weight in arm.named_parameters() if weight.requires_grad}
    rows = []
    for objective in range(5):
        own = [pair for pair in chosen if pair.objective == objective]
        loss = (
            defined_loss(arm, own, args) * len(own) / len(chosen)
            if own
            else 0.0 * sum(weight.sum() for weight in parameters.values())
        )
        rows.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(parameters.values()))]))
    return parameters, torch.stack(rows).double()


@pytest.mark.parametrize("conflict", ["pcgrad", "upgrad", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {"per_device_train_batch_size": 10},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 5},
        {"per_device_train_batch_size": 10, "gradient_checkpointing": True},
        {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 2, "preference_contrast": 1.5},
        {"per_device_train_batch_size": 10, "gradient_checkpointing": True, "relative_to_base": True},
    ],
    ids=["one batch", "accumulated", "checkpointed", "contrast", "relative"],
)
def test_the_update_is_that_of_separate_backward_passes(pairs, tokenizer, tmp_path, conflict, options):
    pairs.rows = pairs.rows[:9] + pairs.rows[10:11]
    args = training_arguments(tmp_path, conflict=conflict, optim="sgd", learning_rate=1.0, **options)
    arm = random_arm("llama", seed=2)
    parameters, gradients = separate_gradients(arm, pairs.rows, args)
    present = sorted({pair.objective for pair in pairs.rows})
    weights = conflict_weights(gradients @ gradients.T, present, conflict, seed=args.seed, step=0)
    if conflict == "pcgrad":
        # A case in which nothing conflicts would prove nothing.
        assert ((gradients @ gradients.T) < 0).any()
        assert not torch.allclose(weights[present], torch.ones(len(present), dtype=torch.float64))
    expected = (weights @ gradients).float()
    before = torch.cat([weight.detach().flatten() for weight in parameters.values()])
    ArmTrainer(arm, args, pairs, tokenizer).train()
    after = torch.cat([weight.detach().flatten() for weight in parameters.values()])
    torch.testing.assert_close(before - after, expected, atol=1e-5, rtol=1e-3)


def test_figures_are_logged(pairs, tokenizer, tmp_path):
    args = training_arguments(tmp_path, max_steps=3, per_device_train_batch_size=10, learning_rate=1e-2)
    trainer = ArmTrainer(random_arm("llama", seed=2), args, pairs, tokenizer)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert len(lines) == 3
    for name in trainer.objectives:
        assert {f"{what}/{name}" for what in ("loss", "margin", "accuracy", "grad_norm")} <= set(lines[0])
    assert len([key for key in lines[0] if key.startswith("cosine/")]) == 10
    assert 0 <= lines[0]["conflicts"] <= 1
    assert lines[0]["update_change"] >= 0


def test_evaluation_between_steps_changes_no_update(pairs, tokenizer, tmp_path):
    train = partial(trained, pairs, tokenizer, max_steps=3, optim="sgd", learning_rate=0.1)
    plain = train(tmp_path)
    arm = random_arm("llama", seed=2)
    args = training_arguments(
        tmp_path, max_steps=3, optim="sgd", learning_rate=0.1, eval_strategy="steps", eval_steps=1
    )
    ArmTrainer(arm, args, pairs, tokenizer, eval_dataset=pairs).train()
    assert_close(plain, {name: weight.detach() for name, weight in arm.named_parameters() if weight.requires_grad})
