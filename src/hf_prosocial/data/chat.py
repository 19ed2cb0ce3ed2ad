"""Rows of training data: conversations turned into tokens, and rows that cannot be."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError


class MalformedRowError(ProsocialError):
    """A row that cannot be trained on; `reason` is one of a few words to count by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def row_of(row: str | dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """A row as a dictionary, from itself or from a line of JSON, with the fields that it must have.

    Raises:
        MalformedRowError: not an object in JSON, or a field that is missing.
    """
    if isinstance(row, str):
        try:
            row = json.loads(row)
        except json.JSONDecodeError as error:
            raise MalformedRowError("not JSON", str(error)) from error
    if not isinstance(row, dict):
        raise MalformedRowError("not an object", type(row).__name__)
    missing = [name for name in fields if row.get(name) is None]
    if missing:
        raise MalformedRowError("missing field", ", ".join(missing))
    return row


def malformed_report(malformed: Mapping[int, MalformedRowError]) -> str:
    """How many rows were left out, and each reason with its lines."""
    reasons: dict[str, list[int]] = {}
    for line, error in malformed.items():
        reasons.setdefault(error.reason, []).append(line)
    text = [f"{len(malformed)} malformed rows left out"]
    text += [
        f"  {reason}: {len(lines)} (line {', '.join(map(str, lines))})" for reason, lines in sorted(reasons.items())
    ]
    return "\n".join(text)


def prompt_and_reply(tokenizer: PreTrainedTokenizerBase, prompt: Any, reply: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, as generation would see it, and of the reply with its end-of-turn token.

    Raises:
        MalformedRowError: an empty or ill-formed text, or a chat template that does not continue the prompt.
    """
    if isinstance(prompt, str) and isinstance(reply, str):
        if not reply.strip():
            raise MalformedRowError("empty reply")
        reply_ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
        return list(tokenizer(prompt)["input_ids"]), [*reply_ids, tokenizer.eos_token_id]
    for name, messages in (("prompt", prompt), ("reply", reply)):
        if not are_messages(messages):
            raise MalformedRowError("not chat messages", f"the {name} is {messages!r:.80}")
    if not reply[-1]["content"].strip():
        raise MalformedRowError("empty reply")
    return templated(tokenizer, prompt, reply)


def templated(
    tokenizer: PreTrainedTokenizerBase, prompt: list[dict[str, str]], reply: list[dict[str, str]]
) -> tuple[list[int], list[int]]:
    """`prompt_and_reply` of chat messages; a model may also have said nothing, and only ended its turn.

    Raises:
        MalformedRowError: a chat template that does not continue the prompt.
    """
    before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*prompt, *reply], tokenize=False)
    if not isinstance(before, str) or not isinstance(whole, str) or not whole.startswith(before):
        raise MalformedRowError("chat template", "the whole conversation does not begin with the prompt")
    # Whitespace after the end-of-turn token is never generated, so it is not part of the reply.
    after = whole[len(before) :].rstrip()
    reply_ids = list(tokenizer(after, add_special_tokens=False)["input_ids"])
    if after == reply[-1]["content"].rstrip():
        reply_ids.append(tokenizer.eos_token_id)
    return list(tokenizer(before, add_special_tokens=False)["input_ids"]), reply_ids


def padding_id(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The id that fills a batch: the pad token's, else the end-of-text token's as in `generate`; None without both."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def are_messages(messages: Any) -> bool:
    """Whether something is a list of chat messages: a role and a text each."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(one, dict) and isinstance(one.get("content"), str) and one.get("role") for one in messages)
    )
