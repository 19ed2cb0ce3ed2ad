"""The stages up to the ARM: each calls what its own command calls."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainingArguments

from hf_prosocial.arm import ArmRecipe, ArmTrainingArguments, last_whole_checkpoint, train_arm
from hf_prosocial.data import DEV, TRAIN, build_data, check_unchanged, describe_data, read_completions
from hf_prosocial.direg import CopyRecipe, HarmVector, SweepRecipe, finetune_copy, run_sweep
from hf_prosocial.gate import GateRecipe, train_gate
from hf_prosocial.hub import write_arm_card
from hf_prosocial.models import find_base
from hf_prosocial.records import DATA, TRAINING, Interval, TrainingRecord, read_choice

from .base import Machine
from .execute import together
from .folder import GATE, HARMFUL, HUMANE, DataFolder, write_share
from .recipe import AlignRecipe, Effort

HELD_OUT = 0.1
"""Share of the prompts of completions that no copy sees, and that vectors are measured on."""
GATED_SCALE = 0.75
"""λ of the gated vector where its gate is open (docs/decisions/040)."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What all stages share: recipe, budget, data, machine and folder, and what base and guide's base are known by."""

    recipe: AlignRecipe
    effort: Effort
    data: DataFolder
    machine: Machine
    out: Path
    base_known_by: str
    guide_known_by: str

    @property
    def guide_base(self) -> str:
        """What the ARM is trained on."""
        return self.recipe.guide_base or self.recipe.base

    def path(self, name: str) -> str:
        """Of something in the folder."""
        return str(self.out / name)

    def arguments(self, output: str) -> dict[str, Any]:
        """Training arguments that all trainings share."""
        return {
            "output_dir": self.path(output),
            "per_device_train_batch_size": self.machine.rows,
            "gradient_accumulation_steps": self.machine.micro_batches,
            "lr_scheduler_type": "cosine",
            "weight_decay": 0.0,
            "logging_steps": 10,
            "save_steps": self.effort.save_steps,
            "save_total_limit": 1,
            "report_to": "none",
            "seed": self.recipe.seed,
            "use_cpu": self.machine.device == "processor",
        }


def make_data(work: Work) -> str:
    """Build the mixture, unless a built folder was given."""
    if work.recipe.data is None:
        build_data(work.data.path, work.recipe.mixture, work.recipe.raw)
        objectives = describe_data(work.data.path).objectives
        sizes = ", ".join(f"{name} {one.train:,} + {one.held_out:,}" for name, one in objectives.items())
        return f"pairs to train on and held out: {sizes}; nothing shared"
    if work.data.has(DATA):
        check_unchanged(work.data.path)
    return f"taken as it is from {work.data.path}: {', '.join(work.data.objectives)}"


def make_copies(work: Work) -> str:
    """Fine-tune the harmful and the humane copy, as LoRAs."""
    rows = {"harmful": HARMFUL, "humane": HUMANE}
    counts = [f"{kind}: {_copy(work, f'copies/{kind}', work.data.file(name))} rows" for kind, name in rows.items()]
    return ", ".join(counts)


def _copy(work: Work, output: str, rows: str) -> int:
    recipe = CopyRecipe(data=rows, base=work.recipe.base, base_dtype=work.machine.dtype, held_out=HELD_OUT)
    steps: dict[str, Any] = {"max_steps": work.effort.copy_steps, "warmup_steps": max(1, work.effort.copy_steps // 10)}
    training = TrainingArguments(**work.arguments(output), **steps, learning_rate=3e-4)
    last = last_whole_checkpoint(training.output_dir or "")
    training.resume_from_checkpoint = None if last is None else str(last)
    model, tokenizer = find_base(work.recipe.base).load(getattr(torch, work.machine.dtype))
    completions = read_completions(rows, tokenizer, min(recipe.max_length, _reads(model)))
    if completions.malformed:
        logger.info("%s: %s", rows, completions.report())
    kept = completions.without_held_out(HELD_OUT)
    torch.manual_seed(training.seed)
    finetune_copy(model, tokenizer, kept, recipe, training)
    return len(kept)


def make_vector(work: Work) -> str:
    """Sweep density and λ in memory, and save what was chosen."""
    text = work.data.text
    safe = [file for file, measures in work.data.benchmarks().items() if measures == "over_refusal"]
    recipe = SweepRecipe(
        base=work.recipe.base,
        harmful=work.path("copies/harmful"),
        benign=work.path("copies/humane"),
        out=work.path("sweep"),
        kinds=["contrast"],
        densities=list(work.effort.densities),
        scales=list(work.effort.scales),
        harmful_rows=work.data.file(HARMFUL),
        benign_rows=work.data.file(HUMANE),
        text=str(text),
        held_out=HELD_OUT,
        compact=True,
        text_tokens=work.effort.sweep_tokens,
        safe_prompts=safe[0] if safe else None,
        prompt_count=work.effort.sweep_prompts if safe else None,
    )
    swept = run_sweep(recipe)
    if swept.record.chosen.scale == 0:
        return f"{swept.record.reason}; so there is no safe checkpoint"
    choice = read_choice(recipe.out)
    HarmVector(choice.vector_file).save_pretrained(work.path("harm-vector"), evidence=recipe.out)
    return swept.record.reason


def make_safe(work: Work) -> str:
    """Write the base less λ times the vector, where the sweep found one."""
    if read_choice(work.path("sweep")).record.chosen.scale == 0:
        return "nothing to subtract"
    choice = read_choice(work.path("sweep"))
    vector = HarmVector.from_pretrained(choice.vector_file)
    written = vector.subtract(
        work.recipe.base, "auto", work.path("safe-base"), overwrite=True, evidence=work.path("sweep")
    )
    return f"{written}: the base less {choice.scale:g} times the vector"


def make_gate(work: Work) -> str:
    """Make a harm vector for run time, and the gate before it."""
    kinds = {measures: [] for measures in ("harm", "over_refusal", "rewards")}
    for file, measures in work.data.benchmarks().items():
        kinds[measures].append(file)
    recipe = GateRecipe(
        base=work.recipe.base,
        harmful_copy=work.path("copies/harmful"),
        benign_copy=work.path("copies/humane"),
        scale=GATED_SCALE,
        harmful=[work.data.file(GATE[0])],
        harmless=[work.data.file(GATE[1])],
        people=[work.data.file(GATE[2])],
        held_out_harmful=kinds["harm"],
        held_out_harmless=kinds["over_refusal"],
        held_out_people=kinds["rewards"],
        out=work.path("gated-harm-vector"),
        seed=work.recipe.seed,
    )
    figures = train_gate(recipe).record.figures
    said = []
    for name, figure in figures.items():
        if name.startswith("opens: "):
            mean = figure.mean if isinstance(figure, Interval) else figure
            said.append(f"{name.removeprefix('opens: ')} {mean:.2f}")
    return f"the gate opens for {', '.join(said)}"


def make_arm(work: Work) -> str:
    """Train the ARM, and measure margins on the held-out pairs."""
    files = {"pairs/train.jsonl": (TRAIN, work.effort.pairs), "pairs/dev.jsonl": (DEV, work.effort.held_out_pairs)}
    if PartialState().is_main_process:
        for name, (source, count) in files.items():
            write_share(work.data.file(source), work.out / name, count)
    together()
    recipe = ArmRecipe(
        train_data=work.path("pairs/train.jsonl"),
        dev_data=work.path("pairs/dev.jsonl"),
        base=work.guide_base,
        base_dtype=work.machine.dtype,
        attn_implementation=work.machine.attention,
        objectives=work.data.objectives,
        max_length=384,
    )
    training = ArmTrainingArguments(
        **work.arguments("arm"),
        learning_rate=8e-4,
        warmup_steps=10,
        num_train_epochs=1,
        train_sampling_strategy="group_by_length",
        beta_r=0.1,
        length_free=True,
        relative_to_base=True,
        objective_exponent=0.5,
        preference_sampling="size_biased",
        preference_concentration=0.05,
        w2_learning_rate_ratio=6,
    )
    command = ["prosocial", "align", work.recipe.base, "--out", work.recipe.out, "--budget", work.recipe.budget]
    output = train_arm(recipe, training, resume=True, command=command)
    if output is None:
        return ""
    write_arm_card(output)
    dev = TrainingRecord.read(output / TRAINING).dev
    assert dev is not None
    own = ", ".join(
        f"{name} {one.own.mean:.2f} [{one.own.low:.2f}, {one.own.high:.2f}]" for name, one in dev.objectives.items()
    )
    return f"accuracy on held-out pairs: {own}"


def _reads(model: Any) -> int:
    return int(model.config.get_text_config().max_position_embeddings)
