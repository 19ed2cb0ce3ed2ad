"""Guide a text-generation pipeline over a batch of chats."""

from typing import Any

import typer
from transformers import pipeline

from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import find_base


def main(base: str | None = None, arm: str | None = None, max_new_tokens: int = 30) -> None:
    model, tokenizer = find_base(base).load()
    guide = load_arm(arm or released_arm(), model, tokenizer=tokenizer)
    chats = [
        [{"role": "user", "content": "I feel lonely in this new town."}],
        [{"role": "user", "content": "My dog is old and sick. What can I do for him?"}],
    ]
    processor = ProSocialProcessor(guide, Preference.one_hot("empathy"), beta=1.0, tokenizer=tokenizer)
    generator: Any = pipeline("text-generation", model=model, tokenizer=tokenizer)  # ty: ignore[no-matching-overload]
    replies = generator(
        chats,
        batch_size=2,
        logits_processor=[processor],
        max_new_tokens=max_new_tokens,
        do_sample=False,
        return_full_text=False,
    )
    for chat, reply in zip(chats, replies, strict=True):
        print(f"> {chat[0]['content']}\n{reply[0]['generated_text']}\n")


if __name__ == "__main__":
    typer.run(main)
