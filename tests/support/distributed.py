"""Trains three steps and saves the adapter: run alone, or by `accelerate launch` with several processes."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from hf_prosocial import OBJECTIVES, ArmTrainer, ArmTrainingArguments
from hf_prosocial.data import tokenize_rows
from support.models import random_arm, tiny_tokenizer
from support.rows import rows

out, batch, conflict = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
tokenizer = tiny_tokenizer()
args = ArmTrainingArguments(
    output_dir=str(out),
    per_device_train_batch_size=batch,
    gradient_accumulation_steps=2,
    max_steps=3,
    learning_rate=0.1,
    lr_scheduler_type="constant",
    optim="sgd",
    beta_r=0.5,
    conflict=conflict,
    preference_contrast=0.5,
    save_strategy="no",
    report_to="none",
    use_cpu=True,
    disable_tqdm=True,
    max_grad_norm=1.0,
)
arm = random_arm("llama", seed=2, dropout=0.2)
trainer = ArmTrainer(arm, args, tokenize_rows(rows(OBJECTIVES, 24), tokenizer, OBJECTIVES, max_length=80), tokenizer)
trainer.train()
weights = {name: weight.detach().contiguous() for name, weight in arm.named_parameters() if weight.requires_grad}
save_file(weights, out / f"rank{trainer.args.process_index}-of{trainer.args.world_size}.safetensors")
