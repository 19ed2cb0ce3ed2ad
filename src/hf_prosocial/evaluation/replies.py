"""A chat model's replies to messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from hf_prosocial.batching import batches_by_length
from hf_prosocial.chat import padding_id
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
        tokenizer: its tokenizer.
        conversations: chat messages, the last of each a user's.
        max_new_tokens: length of a reply.
        options: of `generate`.

    Raises:
        ValueError: as `continuations_of`.
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

    Rows are padded on the left, by the end-of-text token where the tokenizer has no pad token, as `generate` does.

    Raises:
        ValueError: the tokenizer has neither.
    """
    pad = padding_id(tokenizer)
    if pad is None:
        raise ValueError("the tokenizer has neither a pad token nor an end-of-text token to pad a batch with; set one")
    rows = [torch.tensor(row) for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    left = {"batch_first": True, "padding_side": "left"}
    input_ids = pad_sequence(rows, padding_value=pad, **left).to(model.device)
    mask = pad_sequence([torch.ones_like(row) for row in rows], padding_value=0, **left).to(model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=input_ids, attention_mask=mask, pad_token_id=pad, max_new_tokens=max_new_tokens, **options
        )
    new = output[:, input_ids.shape[1] :]
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
