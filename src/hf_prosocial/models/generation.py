"""A chat model's replies to messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from jinja2 import TemplateError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import Prompt, batches_by_length, padding_id
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar


@dataclass(frozen=True)
class Batch:
    """Tokenised texts, padded on the left.

    Attributes:
        input_ids: int64.
        attention_mask: 1 for tokens and 0 for padding, int64.
        pad_token_id: what fills the rows.
    """

    input_ids: Int[Tensor, "rows length"]
    attention_mask: Int[Tensor, "rows length"]
    pad_token_id: int


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
        ValueError: as `batch_of`.
    """
    batch = prompt_batch(tokenizer, conversations)
    return continuations_of(model, tokenizer, batch, max_new_tokens, options)


def prompt_batch(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[list[dict[str, str]]]) -> Batch:
    """Conversations as a model reads them before it replies, through the chat template.

    Raises:
        ValueError: as `batch_of`.
    """
    return batch_of(tokenizer, [prompt_text(tokenizer, conversation) for conversation in conversations])


def batch_of(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Batch:
    """Texts that hold their special tokens; where there is no pad token, the end-of-text token pads, as in `generate`.

    Raises:
        ValueError: the tokenizer has neither.
    """
    pad = padding_id(tokenizer)
    if pad is None:
        raise ProsocialError(
            "the tokenizer has neither a pad token nor an end-of-text token to pad a batch with; set one"
        )
    rows = [torch.tensor(row) for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    left = {"batch_first": True, "padding_side": "left"}
    mask = pad_sequence([torch.ones_like(row) for row in rows], padding_value=0, **left)
    return Batch(pad_sequence(rows, padding_value=pad, **left), mask, pad)


def continuations_of(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    max_new_tokens: int,
    options: Mapping[str, Any],
) -> list[str]:
    """What a model adds to a batch of texts; arguments as of `replies_to`."""
    with torch.no_grad():
        output = model.generate(
            input_ids=batch.input_ids.to(model.device),
            attention_mask=batch.attention_mask.to(model.device),
            pad_token_id=batch.pad_token_id,
            max_new_tokens=max_new_tokens,
            **options,
        )
    new = output[:, batch.input_ids.shape[1] :]
    return [reply.strip() for reply in tokenizer.batch_decode(new, skip_special_tokens=True)]


def greedy_replies(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], max_new_tokens: int, *, batch_tokens: int
) -> list[str]:
    """One greedy reply to each of many prompts, in batches of similar length.

    Args:
        model: with `generate`.
        tokenizer: its tokenizer.
        prompts: what to answer.
        max_new_tokens: length of a reply.
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
    """What a model reads before it replies, through the chat template.

    Raises:
        ProsocialError: the template refuses the conversation.
    """
    try:
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise ProsocialError(
            f"the chat template raises {error!r:.200} for the conversation that begins {conversation[0]!r:.80}; take "
            "such messages out, or give the tokenizer another template"
        ) from error
