"""Tokens that guidance changed, as HTML that opens at a click or the Enter key, without a script."""

from collections.abc import Sequence
from html import escape

from hf_prosocial.session import Step

_STYLE = """<style>
.changes { line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; }
.changes details, .changes details::details-content { display: inline; }
.changes details:not([open])::details-content { display: none; }
.changes summary { display: inline; cursor: pointer; list-style: none; border-bottom: 2px solid #d97706;
                   background: rgba(217, 119, 6, .18); border-radius: 3px; }
.changes summary::-webkit-details-marker { display: none; }
.changes summary:focus-visible { outline: 2px solid currentColor; }
.changes details[open] span { display: inline-block; margin: 0 .3em; padding: 0 .5em; border-radius: 4px;
                              font-size: .85em; border: 1px solid #d97706; white-space: pre; }
</style>"""


def marked(steps: Sequence[Step]) -> str:
    """A reply whose changed tokens are marked; each opens to its probabilities.

    A token is changed where the base by itself would have gone on with another one.
    """
    if not steps:
        return ""
    changed = sum(step.instead is not None for step in steps)
    body = "".join(escape(step.text) if step.instead is None else _opened(step) for step in steps)
    said = f"Guidance changed {changed} of {len(steps)} tokens. Open a marked one for its probabilities."
    return f'{_STYLE}<p>{said}</p><div class="changes">{body}</div>'


def _opened(step: Step) -> str:
    assert step.instead is not None
    other, probability = step.instead
    said = (
        f"guided {step.guided:.0%}, base {step.base:.0%}; the base's choice was "
        f"“{escape(other.strip() or repr(other))}”, {probability:.0%}"
    )
    return f"<details><summary>{escape(step.text) or '·'}</summary><span>{said}</span></details>"
