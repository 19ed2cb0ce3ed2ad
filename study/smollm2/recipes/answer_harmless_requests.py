"""The base's answers to frightening but harmless requests, which the benign copy learns from.

    python recipes/answer_harmless_requests.py runs/harmless_answers.jsonl

Four answers to each request are sampled; those that do not end, or open with the words of a refusal, are left out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import pipeline, set_seed

from hf_prosocial.direg.refusal_words import has_refusal_words
from hf_prosocial.gate import frightening_prompts
from hf_prosocial.models import find_base, preferred_device

LONGEST = 256
"""Tokens of an answer."""


def answered(requests: list[str]) -> Iterator[dict[str, Any]]:
    """Rows as `prosocial direg finetune` reads them."""
    model, tokenizer = find_base().load("bfloat16", device=preferred_device())
    # transformers 5.17 reads neither of the two from the GGUF file as the model has it.
    tokenizer.pad_token = tokenizer.eos_token = "<|im_end|>"
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = [[{"role": "user", "content": request}] for request in requests]
    sampling = {"do_sample": True, "temperature": 0.7, "num_return_sequences": 4, "max_new_tokens": LONGEST}
    set_seed(0)
    found = answer(prompts, batch_size=64, return_full_text=False, **sampling)
    for prompt, replies in zip(prompts, found, strict=True):
        for reply in (one["generated_text"] for one in replies):
            if len(tokenizer(reply)["input_ids"]) < LONGEST and not has_refusal_words(reply):
                yield {"prompt": prompt, "completion": [{"role": "assistant", "content": reply}]}


if __name__ == "__main__":
    rows = list(answered(frightening_prompts()))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(sys.argv[1]).write_text(lines, encoding="utf-8")
    print(f"{len(rows)} answers kept")
