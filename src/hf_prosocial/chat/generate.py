"""`prosocial generate`: one message, one reply for each preference."""

import sys
from collections.abc import Sequence

from rich.console import Console

from hf_prosocial.io import progress_bar
from hf_prosocial.preference import Preference
from hf_prosocial.session import WHERE_HELP_IS, ChatSession, OnToken, about_edit, about_gate


def run_generate(
    session: ChatSession,
    message: str,
    preferences: Sequence[Preference],
    beta: float,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> None:
    """Print each reply to standard output, under its preference where there are several; the rest to standard error."""
    notes = Console(stderr=True)
    about = f"{about_edit(session.edit)}; " if session.edit else ""
    notes.print(f"base: {session.source}; {about}β = {beta:g}", markup=False, highlight=False, soft_wrap=True)
    notes.print(WHERE_HELP_IS, markup=False, highlight=False, soft_wrap=True)
    if opens := session.gate_opens([{"role": "user", "content": message}]):
        notes.print(about_gate(opens), markup=False, highlight=False, soft_wrap=True)
    with progress_bar(max_new_tokens, "generating", "token") as bar:
        replies = session.reply(
            message,
            preferences,
            beta=beta,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            progress=OnToken(bar.update),
        )
    for preference, text in zip(preferences, replies, strict=True):
        if len(preferences) > 1:
            sys.stdout.write(f"[{preference}]\n")
        sys.stdout.write(text + "\n")
