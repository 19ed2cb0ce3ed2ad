"""Bake one preference into an ordinary LoRA, which loads with PEFT alone (and serves wherever LoRA does)."""

from pathlib import Path

import torch
import typer
from peft import PeftModel

from hf_prosocial import Preference, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base


def main(output: Path = Path("runs/baked-empathy"), base: str | None = None, arm: str | None = None) -> None:
    model, tokenizer = find_base(base).load()
    guide = load_arm(arm or released_arm(), model, tokenizer=tokenizer)
    preference = Preference(empathy=0.8, truthfulness=0.2)
    guide.save_baked(output, preference)

    lora = PeftModel.from_pretrained(find_base(base).load()[0], str(output))
    inputs = tokenizer("I am glad you", return_tensors="pt", return_token_type_ids=False)
    guide.set_preference(preference)
    with torch.no_grad():
        difference = (guide(**inputs).logits - lora(**inputs).logits).abs().max().item()
    print(f"a LoRA of rank {lora.active_peft_config.r} in {output}; largest difference of logits: {difference:.1e}")


if __name__ == "__main__":
    typer.run(main)
