"""One batch, another preference for every row."""

import typer

from hf_prosocial import OBJECTIVES, Preference, ProSocialProcessor, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base


def main(base: str | None = None, arm: str | None = None, max_new_tokens: int = 30) -> None:
    model, tokenizer = find_base(base).load()
    guide = load_arm(arm or released_arm(), model, tokenizer=tokenizer)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "I shouted at my son and I feel bad."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    preferences = [Preference.one_hot(name) for name in OBJECTIVES]
    inputs = tokenizer([text] * len(preferences), return_tensors="pt", add_special_tokens=False)
    processor = ProSocialProcessor(guide, preferences, beta=1.0, tokenizer=tokenizer)
    output = model.generate(**inputs, logits_processor=[processor], max_new_tokens=max_new_tokens, do_sample=False)
    for preference, row in zip(preferences, output, strict=True):
        print(f"[{preference}] {tokenizer.decode(row[inputs['input_ids'].shape[1] :], skip_special_tokens=True)}")


if __name__ == "__main__":
    typer.run(main)
