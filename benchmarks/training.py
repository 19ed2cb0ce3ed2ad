"""What resolving conflicts costs: a training step with PCGrad beside the weighted sum and beside five backward passes.

SmolLM2-135M-Instruct in fp32, 8 pairs of random tokens, all five objectives among them. Times are of a whole step
(forward, backward, update), medians of ratios in turn; memory is the peak of a process that runs a few such steps.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from peft import get_peft_model

from benchmarks.goals import Goal, report
from benchmarks.processes import run_measured
from benchmarks.timing import in_turn, median_ratio
from hf_prosocial import OBJECTIVES, ArmTrainer, ArmTrainingArguments, PBLoraConfig
from hf_prosocial.arm import PairReading, pair_log_probs, pair_losses
from hf_prosocial.arm.batch import collate
from hf_prosocial.arm.conflict import conflict_weights
from hf_prosocial.arm.losses import summed_margins
from hf_prosocial.data import Pair, Pairs
from hf_prosocial.models import find_base

REPEATS = 3
PAIRS, PROMPT, REPLY = 8, 64, 64
MEMORY = """
import sys
from benchmarks.training import one_step, new_trainer
step = one_step(new_trainer(sys.argv[1]), five_passes=False)
for _ in range(3):
    step()
"""


def new_trainer(conflict: Any, *, compile_base: bool = False) -> ArmTrainer:
    """A trainer of a fresh adapter on SmolLM2."""
    model, tokenizer = find_base().load(torch.float32)
    config = PBLoraConfig(target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM")
    arm = get_peft_model(model, config).train()
    with tempfile.TemporaryDirectory() as folder:
        args = ArmTrainingArguments(
            output_dir=folder, conflict=conflict, compile_base=compile_base, use_cpu=True, report_to="none"
        )
        return ArmTrainer(arm, args, Pairs(OBJECTIVES, random_pairs()), tokenizer)


def random_pairs() -> list[Pair]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(10, 40_000, (PAIRS, PROMPT + 2 * REPLY), generator=generator).tolist()
    return [
        Pair(line, line % len(OBJECTIVES), row[:PROMPT], row[PROMPT : PROMPT + REPLY], row[PROMPT + REPLY :])
        for line, row in enumerate(rows)
    ]


def one_step(trainer: ArmTrainer, *, five_passes: bool) -> Callable[[], None]:
    """A whole optimiser step, by the trainer or by a backward pass for each objective."""
    arm: Any = trainer.model
    batch = collate(random_pairs(), pad_token_id=0)
    optimizer = torch.optim.SGD([weight for weight in arm.parameters() if weight.requires_grad], lr=1e-6)

    def step() -> None:
        if five_passes:
            _five_passes(trainer, arm, batch)
        else:
            trainer.accelerator.gradient_state._set_sync_gradients(True)
            trainer.training_step(arm, dict(batch), PAIRS)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _five_passes(trainer: ArmTrainer, arm: Any, batch: dict[str, torch.Tensor]) -> None:
    p, weight = trainer._preferences(batch, "dirichlet", draw=0)
    trainer.tuner.set_preference(p)
    losses = (
        weight
        * pair_losses(summed_margins(pair_log_probs(arm, batch, PairReading(arm.dtype))), trainer.settings.beta_r)
        / PAIRS
    )
    parameters = [one for one in arm.parameters() if one.requires_grad]
    rows = []
    for objective in range(len(OBJECTIVES)):
        loss = losses[batch["objective"] == objective].sum()
        found = torch.autograd.grad(loss, parameters, retain_graph=objective + 1 < len(OBJECTIVES))
        rows.append(torch.cat([one.flatten() for one in found]))
    gradients = torch.stack(rows)
    gramian = gradients.double() @ gradients.double().T
    weights = conflict_weights(gramian, range(len(OBJECTIVES)), "pcgrad", seed=0, step=0)
    update = weights.float() @ gradients
    for parameter, piece in zip(parameters, update.split([one.numel() for one in parameters]), strict=True):
        parameter.grad = piece.view_as(parameter)


def run() -> bool:
    plain, projected, compiled = new_trainer("none"), new_trainer("pcgrad"), new_trainer("pcgrad", compile_base=True)
    tasks = {
        "weighted sum": one_step(plain, five_passes=False),
        "PCGrad": one_step(projected, five_passes=False),
        "PCGrad, base compiled": one_step(compiled, five_passes=False),
        "five backward passes": one_step(plain, five_passes=True),
    }
    seconds = in_turn(tasks, REPEATS)
    for name, found in seconds.items():
        print(f"{name:22} {sorted(found)[len(found) // 2]:.2f} s a step")
    memory = {name: run_measured([sys.executable, "-c", MEMORY, name]) for name in ("none", "pcgrad")}
    for name, cost in memory.items():
        print(f"conflict={name:8} peak {cost.resident:.0f} MiB RSS, {cost.anonymous:.0f} MiB anonymous")
    sum_over = median_ratio(seconds["PCGrad"], seconds["weighted sum"])
    compiled_over = median_ratio(seconds["PCGrad, base compiled"], seconds["PCGrad"])
    five_over = median_ratio(seconds["PCGrad"], seconds["five backward passes"])
    return report(
        "training",
        [
            Goal("a step with PCGrad over the weighted sum's", sum_over, "<= 1.35"),
            Goal("a step with PCGrad over five backward passes", five_over, "<= 0.5"),
            Goal("a step with PCGrad, base compiled, over one without", compiled_over, "<= 1"),
            Goal("its peak RSS over the weighted sum's", memory["pcgrad"].resident / memory["none"].resident, "<= 1.3"),
            Goal(
                "its peak anonymous memory over the weighted sum's",
                memory["pcgrad"].anonymous / memory["none"].anonymous,
                "<= 1.3",
            ),
        ],
    )
