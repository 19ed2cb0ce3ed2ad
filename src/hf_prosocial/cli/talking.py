"""The commands that talk to a guided model: demo, generate, chat and app."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AllowOption,
    ArmOption,
    AskedBetaOption,
    BaseOption,
    BetaOption,
    LengthOption,
    ScaleOption,
    VectorOption,
)


def demo(
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    beta: BetaOption = 1.0,
    max_new_tokens: LengthOption = 48,
    allow_mismatch: AllowOption = None,
) -> None:
    """How a chat model answers three people: as it is, made safer, and guided by four preferences."""
    from hf_prosocial.chat import run_demo
    from hf_prosocial.session import asked_edit

    run_demo(base, arm, asked_edit(base, vector, scale), beta, max_new_tokens, allow_mismatch or [])


def generate(
    message: Annotated[str, typer.Argument(help="What the person writes.")],
    preference: Annotated[
        list[str] | None,
        typer.Option("--preference", "-p", help="empathy=0.5,helpfulness=0.5; repeat for several. Default: uniform."),
    ] = None,
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    beta: AskedBetaOption = None,
    max_new_tokens: LengthOption = 96,
    temperature: Annotated[float, typer.Option(help="0 is greedy; 1 + beta has the base's own spread.", min=0.0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of sampling.", min=0)] = 0,
    allow_mismatch: AllowOption = None,
) -> None:
    """Answer one message, under each preference if there are any; the replies alone go to standard output.

    A harm vector is subtracted where a gate takes the message for harmful, and elsewhere the base is as it is.
    """
    from hf_prosocial.chat import run_generate
    from hf_prosocial.session import ChatSession, asked_edit, parsed_preferences

    preferences = parsed_preferences(arm, preference or [])
    session = ChatSession.load(base, arm, asked_edit(base, vector, scale), allow_mismatch or [])
    beta = beta if beta is not None else float(bool(preference))
    run_generate(session, message, preferences, beta, max_new_tokens, temperature, seed)


def chat(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder that `align` made. Default: what the options name.")
    ] = None,
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    preference: Annotated[str | None, typer.Option("--preference", "-p", help="Default: uniform.")] = None,
    beta: AskedBetaOption = None,
    max_new_tokens: LengthOption = 200,
) -> None:
    """Talk to a guided model in the terminal: streaming, several turns; /help lists what may be changed."""
    from hf_prosocial.chat import Conversation, talk
    from hf_prosocial.session import ChatSession, asked_edit, parsed_preferences

    from .align import folder_options

    arm_base = None
    if folder is not None:
        found = folder_options(folder)
        arm_base = found["arm_base"] if arm is None else None
        base, arm, vector = base or found["base"], arm or found["arm"], vector or found["vector"]
    (chosen,) = parsed_preferences(arm, [] if preference is None else [preference])
    # Of a folder without a vector of its own, none is meant; not the one that the package holds.
    edit = None if folder is not None and vector is None else asked_edit(base, vector, scale)
    session = ChatSession.load(base, arm, edit, arm_base=arm_base)
    beta = beta if beta is not None else float(preference is not None)
    talk(Conversation(session, chosen, beta, max_new_tokens))


def page(
    base: BaseOption = None,
    arm: ArmOption = None,
    vector: VectorOption = None,
    scale: ScaleOption = None,
    max_new_tokens: LengthOption = 200,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: the first free one from 7860.")] = None,
) -> None:
    """A page to talk to the guided base: a slider for each objective, and what guidance changed."""
    from hf_prosocial.page import page as build
    from hf_prosocial.session import ChatSession, asked_edit

    session = ChatSession.load(base, arm, asked_edit(base, vector, scale))
    build(session, max_new_tokens=max_new_tokens).launch(server_name=host, server_port=port, share=False)
