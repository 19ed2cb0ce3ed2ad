"""Train an ARM from preference pairs, in Python. (From the shell: `prosocial arm train --config recipe.yaml`.)"""

import json
from pathlib import Path

import typer
from peft import get_peft_model

from hf_prosocial import OBJECTIVES, ArmTrainer, ArmTrainingArguments, PBLoraConfig, read_pairs
from hf_prosocial.arm import record_base
from hf_prosocial.models import SMOLLM2, find_base

# Mild stand-ins: a kind reply is preferred to a dismissive one. Yours come from a file of such lines.
KIND = "I am sorry. That sounds hard. Do you want to tell me more?"
CURT = "So what. That is not my job."


def write_example_pairs(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, attribute in enumerate(OBJECTIVES * 4):
            row = {
                "attribute": attribute,
                "prompt": [{"role": "user", "content": f"I lost my keys {number + 2} times this week."}],
                "chosen": [{"role": "assistant", "content": KIND}],
                "rejected": [{"role": "assistant", "content": CURT}],
            }
            file.write(json.dumps(row) + "\n")


def main(output: Path = Path("runs/example-arm"), base: str | None = None, max_steps: int = 4) -> None:
    model, tokenizer = find_base(base).load()
    output.mkdir(parents=True, exist_ok=True)
    write_example_pairs(output / "pairs.jsonl")
    pairs = read_pairs(output / "pairs.jsonl", tokenizer, OBJECTIVES, max_length=256)
    print(pairs.report())

    config = PBLoraConfig(r1=4, r2=4, target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM")
    record_base(config, model, tokenizer, base or SMOLLM2)  # so that load_arm can check the base later
    arm = get_peft_model(model, config)
    arguments = ArmTrainingArguments(
        output_dir=str(output),
        learning_rate=1e-3,
        beta_r=0.02,
        max_steps=max_steps,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
    )
    trainer = ArmTrainer(arm, arguments, pairs, tokenizer)
    trainer.train()
    trainer.save_model()
    print(f"saved to {output}")


if __name__ == "__main__":
    typer.run(main)
