"""Guide `model.generate` by a preference."""

import typer

from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base


def main(base: str | None = None, arm: str | None = None, max_new_tokens: int = 40) -> None:
    model, tokenizer = find_base(base).load()
    guide = load_arm(arm or released_arm(), model, tokenizer=tokenizer)  # shares the model's weights

    messages = [{"role": "user", "content": "I failed my exam again. I feel so stupid."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)

    preference = Preference(empathy=0.5, helpfulness=0.5)
    processor = ProSocialProcessor(guide, preference, beta=1.0, tokenizer=tokenizer)
    with processor.must_guide():  # an error, should the processor be dropped on the way
        output = model.generate(**inputs, logits_processor=[processor], max_new_tokens=max_new_tokens, do_sample=False)
    print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    typer.run(main)
