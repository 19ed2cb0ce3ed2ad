"""A chat model's replies to messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from hf_prosocial.batching import batches_by_length
from hf_prosocial.progress import progress_bar

from .prompts import Prompt


def replies_to(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[list[dict[str, str]]],
    max_new_tokens: int,
    options: Mapping[str, Any],
) -> list[str]:
    """Replies through the chat template, in one batch.

    Args:
        model: with `generate`.
        tokenizer: its tokenizer, padding on the left.
        conversations: chat messages, the last of each a user's.
        max_new_tokens: length of a reply.
        options: of `generate`.

    Raises:
        ValueError: the tokenizer pads on the right.
    """
    texts = [prompt_text(tokenizer, conversation) for conversation in conversations]
    return continuations_of(model, tokenizer, texts, max_new_tokens, options)


def continuations_of(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_new_tokens: int,
    options: Mapping[str, Any],
) -> list[str]:
    """What a model adds to texts that hold their special tokens, in one batch; arguments as of `replies_to`.

    Raises:
        ValueError: the tokenizer pads on the right.
    """
    if tokenizer.padding_side != "left":
        raise ValueError("generation needs padding_side='left' of the tokenizer")
    inputs: Any = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        output = model.generate(**inputs.to(model.device), **options, max_new_tokens=max_new_tokens)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [reply.strip() for reply in tokenizer.batch_decode(new, skip_special_tokens=True)]


def greedy_replies(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], max_new_tokens: int, *, batch_tokens: int
) -> list[str]:
    """One greedy reply to each of many prompts, in batches of similar length.

    Args:
        model, tokenizer, max_new_tokens: as in `replies_to`.
        prompts: what to answer.
        batch_tokens: the most tokens of a batch, padding and replies included.
    """
    conversations = [prompt.messages() for prompt in prompts]
    lengths = [
        len(tokenizer(prompt_text(tokenizer, conversation), add_special_tokens=False)["input_ids"]) + max_new_tokens
        for conversation in conversations
    ]
    replies = [""] * len(prompts)
    with progress_bar(len(prompts), "replies", "reply") as progress:
        for batch in batches_by_length(lengths, batch_tokens):
            asked = [conversations[index] for index in batch]
            found = replies_to(model, tokenizer, asked, max_new_tokens, {"do_sample": False})
            for index, reply in zip(batch, found, strict=True):
                replies[index] = reply
            progress.update(len(batch))
    return replies


def prompt_text(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> str:
    """What a model reads before it replies, through the chat template."""
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
