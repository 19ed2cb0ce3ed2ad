"""`prosocial generate`: one message, one reply for each preference."""

import sys
from collections.abc import Sequence

from rich.console import Console

from hf_prosocial.preference import Preference

from .progress import token_progress
from .replies import SafeEdit, load_chat, reply


def run_generate(
    message: str,
    preferences: Sequence[str],
    *,
    base: str | None,
    arm: str | None,
    edit: SafeEdit | None,
    beta: float,
    safe_set: float | None,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    normalize: bool,
    allow_mismatch: Sequence[str],
) -> None:
    """Print each reply to standard output, under its preference where there are several; the rest to standard error.

    Raises:
        ValueError: a preference that cannot be read, or an adapter that does not belong to the base.
    """
    chat = load_chat(base, arm, edit, allow_mismatch)
    objectives = chat.objectives
    parsed = [Preference.parse(text, normalize=normalize, objectives=objectives) for text in preferences]
    parsed = parsed or [Preference.uniform(objectives=objectives)]
    notes = Console(stderr=True)
    about = f"less {edit.scale:g} times its harm vector; " if edit else ""
    notes.print(f"base: {chat.source}; {about}β = {beta:g}", markup=False, highlight=False, soft_wrap=True)
    with token_progress(notes, "generating", max_new_tokens) as progress:
        replies = reply(
            chat,
            message,
            parsed,
            beta=beta,
            safe_set=safe_set,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            progress=progress,
        )
    for preference, text in zip(parsed, replies, strict=True):
        if len(parsed) > 1:
            sys.stdout.write(f"[{preference}]\n")
        sys.stdout.write(text + "\n")
