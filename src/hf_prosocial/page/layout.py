"""The page: a chat, a slider for each objective, and what guidance changed."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from hf_prosocial.errors import ProsocialError
from hf_prosocial.preference import Preference
from hf_prosocial.session import ChatSession, Step, stream

from .marked import marked
from .shares import WHOLE, rebalanced

LIMITS = (
    "**A demonstration by a small model, not a counsellor.** It can be wrong, cold or harmful. Nothing is kept: a "
    "reload forgets the chat. **In danger, or thinking of suicide?** Call your country's emergency number (112, 911, "
    "999, 000), or find somebody to talk to at [findahelpline.com](https://findahelpline.com)."
)
EXAMPLES = (
    "I lost my job today and I don't know how to tell my family.",
    "My grandmother died last week. I can't focus on anything.",
    "I failed my exam again. Maybe I'm just stupid.",
    "How do I call an ambulance in the UK?",
)
_MESSAGES = list[dict[str, str]]


def page(session: ChatSession, *, max_new_tokens: int = 200) -> gr.Blocks:
    """Build it; `.launch()` serves it.

    Args:
        session: base and ARM.
        max_new_tokens: length of a reply.
    """
    names = session.objectives
    with gr.Blocks(title="hf_prosocial", analytics_enabled=False) as blocks:
        gr.Markdown("# Safe, humane decoding: choose how it answers")
        gr.Markdown(LIMITS)
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                with gr.Row():
                    guided_chat, base_chat = (
                        gr.Chatbot(
                            label=name,
                            height=380,
                            elem_id=name,
                            min_width=280,
                            buttons=["copy"],
                            visible=name == "guided",
                        )
                        for name in ("guided", "base")
                    )
                message = gr.Textbox(label="Your message", lines=1, max_lines=6, elem_id="message", autofocus=True)
                with gr.Row():
                    send = gr.Button("Send", variant="primary", elem_id="send")
                    clear = gr.Button("New chat", elem_id="clear")
                gr.Examples([[text] for text in EXAMPLES], [message], label="Examples")
                changes = gr.HTML(elem_id="changes")
            with gr.Column(scale=1, min_width=280):
                sliders = _sliders(names)
                beta = gr.Slider(0, 3, value=0, step=0.1, label="β: strength of guidance", elem_id="beta")
                compare = gr.Checkbox(label="Show the unguided base beside it", elem_id="compare")
        _together(sliders, beta)
        states = [gr.State([]), gr.State([])]
        inputs = [message, *states, compare, beta, *sliders]
        outputs = [message, *states, guided_chat, base_chat, changes]
        for event in (send.click, message.submit):
            event(
                partial(_answer, session, max_new_tokens),
                inputs,
                outputs,
                concurrency_limit=2,
                concurrency_id="reply",
                api_visibility="private",
            )
        for event in (clear.click, guided_chat.clear, base_chat.clear):
            event(lambda: ("", [], [], [], [], ""), None, outputs, api_visibility="private")
        compare.change(lambda shown: gr.update(visible=shown), compare, base_chat, api_visibility="private")
    return blocks


def _sliders(names: Sequence[str]) -> list[Any]:
    """One for each objective."""
    gr.Markdown(
        "### Preference\nMoving one slider rescales the others: together they are always 1. The first move turns "
        "guidance on (β = 1)."
    )
    first = rebalanced([WHOLE // len(names)] * len(names), 0)
    return [
        gr.Slider(0, 1, value=share / WHOLE, step=1 / WHOLE, label=name, elem_id=f"weight-{name}")
        for name, share in zip(names, first, strict=True)
    ]


def _together(sliders: Sequence[Any], beta: Any) -> None:
    """Moving one rescales the others, and turns guidance on."""
    for index, slider in enumerate(sliders):
        others = [one for one in sliders if one is not slider]
        slider.input(
            partial(_moved, index),
            [beta, *sliders],
            [beta, *others],
            show_progress="hidden",
            queue=False,
            trigger_mode="always_last",
            api_visibility="private",
        )


def _moved(index: int, beta: float, *weights: float) -> list[float]:
    shares = rebalanced([round(weight * WHOLE) for weight in weights], index)
    return [beta or 1.0, *(share / WHOLE for place, share in enumerate(shares) if place != index)]


def _answer(
    session: ChatSession,
    max_new_tokens: int,
    message: str,
    guided: _MESSAGES,
    base: _MESSAGES,
    compare: bool,
    beta: float,
    *weights: float,
) -> Iterator[tuple[str, _MESSAGES, _MESSAGES, _MESSAGES, _MESSAGES, str]]:
    """What the page shows after each token. (gradio fixes this signature.)"""
    if not message.strip():
        raise gr.Error("Write a message first.")
    chosen = dict(zip(session.objectives, weights, strict=True))
    try:
        preference = Preference.from_dict(chosen, normalize=True, objectives=session.objectives)
        asked = {"role": "user", "content": message}
        guided, base, steps = [*guided, asked], [*base, asked], list[Step]()
        for step in stream(session, guided, preference, beta, max_new_tokens):
            steps.append(step)
            yield "", guided, base, [*guided, _reply(steps)], base, marked(steps)
        guided, changes = [*guided, _reply(steps)], marked(steps)
        plain: list[Step] = []
        if compare:
            for step in stream(session, base, None, 0.0, max_new_tokens):
                plain.append(step)
                yield "", guided, base, guided, [*base, _reply(plain)], changes
        # Where the base was not asked, its chat goes on from the guided reply.
        base = [*base, _reply(plain if compare else steps)]
        yield "", guided, base, guided, base, changes
    except ProsocialError as error:
        raise gr.Error(str(error)) from error


def _reply(steps: Sequence[Step]) -> dict[str, str]:
    return {"role": "assistant", "content": "".join(step.text for step in steps)}
