"""Rows of training data: conversations turned into tokens, and rows that cannot be."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import listed


class MalformedRowError(ProsocialError):
    """A row that cannot be trained on; `reason` is one of a few words to count by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


UNREAD = ("system", "tools", "images", "documents", "chat_template_kwargs")
"""Columns that change what a model reads in TRL's formats. They are not read here; without them a row is another."""
_OPENED_REASONING = re.compile(r"<think>\s*\Z")
logger = logging.getLogger(__name__)
# A shorter prompt may well be what a reply begins with.
_REPEATED_WORDS = 4


def row_of(row: Any, fields: Sequence[str]) -> dict[str, Any]:
    """A row as a dictionary, from itself or from a line of JSON, with the fields that it must have.

    Raises:
        MalformedRowError: not an object in JSON, a field that is missing, or one that would change the prompt and is
            not read (`UNREAD`).
    """
    if isinstance(row, str):
        try:
            row = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise MalformedRowError("not JSON", str(error)) from error
    if not isinstance(row, dict):
        raise MalformedRowError("not an object", type(row).__name__)
    if not _is_text(row):
        raise MalformedRowError("half of a character", "a lone surrogate, which no tokenizer reads")
    missing = [name for name in fields if row.get(name) is None]
    if missing:
        raise MalformedRowError("missing field", ", ".join(missing))
    unread = [name for name in UNREAD if row.get(name)]
    if unread:
        raise MalformedRowError("a column that is not read", f"{', '.join(unread)}; put what it says into the messages")
    return row


def _is_text(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def malformed_report(malformed: Mapping[int, MalformedRowError]) -> str:
    """How many rows were left out, and each reason with its first lines."""
    reasons: dict[str, list[int]] = {}
    for line, error in malformed.items():
        reasons.setdefault(error.reason, []).append(line)
    text = [f"{len(malformed)} malformed rows left out"]
    text += [f"  {reason}: {len(lines)} (line {listed(lines)})" for reason, lines in sorted(reasons.items())]
    return "\n".join(text)


def prompt_and_reply(tokenizer: PreTrainedTokenizerBase, prompt: Any, reply: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt, as generation would see it, and of the reply with its end-of-turn token.

    Raises:
        MalformedRowError: an empty or ill-formed text, a reply that holds its prompt or a user's turn, or a chat
            template that does not continue the prompt.
    """
    if isinstance(prompt, str) and isinstance(reply, str):
        if not reply.strip():
            raise MalformedRowError("empty reply")
        if len(prompt.split()) >= _REPEATED_WORDS and reply.startswith(prompt):
            raise MalformedRowError("the reply repeats the prompt", "give what follows the prompt alone")
        reply_ids = tokenizer(reply, add_special_tokens=False)["input_ids"]
        return plain_prompt(tokenizer, prompt), [*reply_ids, _end(tokenizer)]
    for name, messages in (("prompt", prompt), ("reply", reply)):
        if not are_messages(messages):
            raise MalformedRowError("not chat messages", f"the {name} is {messages!r:.80}")
    others = sorted({one["role"] for one in reply} - {"assistant"})
    if others:
        raise MalformedRowError("a turn in the reply that is not the assistant's", ", ".join(others))
    if not reply[-1]["content"].strip():
        raise MalformedRowError("empty reply")
    return templated(tokenizer, prompt, reply)


def plain_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """A text's ids with what the tokenizer puts before a text, once, and without what ends one."""
    bare = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = list(tokenizer(prompt)["input_ids"])
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    if ids[-1:] == [eos] and bare[-1:] != [eos]:
        ids = ids[:-1]
    # A text that went through a template begins with the token itself.
    return ids[1:] if bos is not None and ids[:2] == [bos, bos] and bare[:2] != [bos, bos] else ids


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ProsocialError(
            "the tokenizer has no end-of-text token, so that nothing would teach where to stop; set one"
        )
    return int(tokenizer.eos_token_id)


def templated(
    tokenizer: PreTrainedTokenizerBase, prompt: list[dict[str, str]], reply: list[dict[str, str]]
) -> tuple[list[int], list[int]]:
    """`prompt_and_reply` of chat messages; a model may also have said nothing, and only ended its turn.

    Raises:
        MalformedRowError: a chat template that does not continue the prompt.
    """
    try:
        before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*prompt, *reply], tokenize=False)
    except TemplateError as error:
        raise MalformedRowError("chat template", f"it raises {error!r:.200}") from error
    if isinstance(before, str) and isinstance(whole, str) and not whole.startswith(before):
        without = _OPENED_REASONING.sub("", before)
        if without != before and whole.startswith(without):
            _tell_of_reasoning()
            before = without
    if not isinstance(before, str) or not isinstance(whole, str) or not whole.startswith(before):
        raise MalformedRowError("chat template", "the whole conversation does not begin with the prompt")
    # Whitespace after the end-of-turn token is never generated, so it is not part of the reply.
    after = whole[len(before) :].rstrip()
    reply_ids = list(tokenizer(after, add_special_tokens=False)["input_ids"])
    if after == reply[-1]["content"].rstrip():
        reply_ids.append(_end(tokenizer))
    return list(tokenizer(before, add_special_tokens=False)["input_ids"]), reply_ids


@cache
def _tell_of_reasoning() -> None:
    logger.warning(
        "the chat template opens a block of reasoning (<think>) for each reply, and the replies of the data have none; "
        "they are read right after the assistant's tag, as the template itself writes earlier turns"
    )


def padding_id(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The id that fills a batch: the pad token's, else the end-of-text token's as in `generate`; None without both."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def are_messages(messages: Any) -> bool:
    """Whether something is a list of chat messages: a role and a text each."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages)
        and all(isinstance(one.get("role"), str) and one["role"] for one in messages)
    )
