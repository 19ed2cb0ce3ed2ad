"""Does the released ARM order held-out pairs, and does its preference control which?

Margin accuracy on dev per attribute under its own one-hot preference and under the uniform one, raw accuracy, what
length alone scores, and the control matrix, beside the untrained base. Set PROSOCIAL_DATA to the data's folder.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.goals import Goal, report
from hf_prosocial import load_arm, read_pairs
from hf_prosocial.arm.margins import measure_margins
from hf_prosocial.arm.report import margin_summary, margin_table
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base

LARGE = 200  # pairs on dev from which an objective's own lower bound is a goal
DATA = Path(os.environ.get("PROSOCIAL_DATA", "data"))


def run() -> bool:
    source = find_base()
    model, tokenizer = source.load(torch.float32)
    arm = load_arm(released_arm(), model, tokenizer=tokenizer)
    pairs = read_pairs(DATA / "preferences" / "dev.jsonl", tokenizer, arm.active_peft_config.objectives, 1024)
    print(f"{source.description}, fp32; {pairs.report()}")
    margins = measure_margins(arm, pairs, pad_token_id=tokenizer.eos_token_id)
    summary = margin_summary(margins)
    print(margin_table(summary))
    record = Path("records/accuracy.json")
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(asdict(summary), indent=1) + "\n")
    figures = summary.objectives
    controlled = [name for name, found in figures.items() if found.control.low > 0]
    print(f"control holds in the columns {controlled}")
    goals = [Goal("mean margin accuracy per token, own one-hot preference", summary.mean_accuracy, ">= 0.70")]
    goals += [
        Goal(f"margin accuracy per token, {name}, lower bound", found.own.low, ">= 0.60")
        for name, found in figures.items()
        if found.pairs >= LARGE
    ]
    goals.append(Goal("columns under control", len(controlled), f">= {len(figures)}"))
    return report("accuracy", goals)
