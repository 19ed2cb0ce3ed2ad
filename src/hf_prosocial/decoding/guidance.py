"""The formula of guided inference, on logits."""

from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hf_prosocial.errors import ProsocialError

_MOST = 1e6
"""Beyond it, β times a log-probability is near the end of fp32's range."""


def guided_log_probs(
    base: Float[Tensor, "*rows vocabulary"],
    arm: Float[Tensor, "*rows vocabulary"] | None,
    *,
    beta: float,
    safe_set: float | None = None,
    share: Float[Tensor, "*#rows 1"] | None = None,
) -> Float[Tensor, "*rows vocabulary"]:
    """log_softmax( log_softmax(base) + β · log_softmax(arm) ), restricted to the safe set  [METHOD, section 3].

    The inner log-softmaxes shift each row by a constant, which the outer one takes away again; so one is computed.
    Likewise π_s(token) >= ε · max π_s compares logits: base >= max base + log ε.

    Args:
        base: logits or log-probabilities, fp32; −inf bars a token.
        arm: the guide's, likewise; None where β is 0.
        beta: β >= 0.
        safe_set: ε in (0, 1], or None.
        share: of β, in [0, 1], that is in force for each row, where that is not all of it everywhere.

    Returns:
        log-probabilities, fp32; a row without any allowed token stays −inf.

    Raises:
        ValueError: NaN or +inf among the inputs.
    """
    combined = base if arm is None else torch.add(base, arm, alpha=beta)
    if arm is not None and share is not None:
        # Apart, so that a row without guidance is not touched by what the ARM bars, nor a whole one by rounding.
        less = torch.where(share > 0, base + beta * share * arm, base)
        combined = torch.where(share == 1, combined, less)
    if safe_set is not None:
        outside = base < base.amax(-1, keepdim=True) + log(safe_set)
        combined = combined.masked_fill(outside, -torch.inf)
    normaliser = combined.logsumexp(-1, keepdim=True)
    _check_finite(normaliser.squeeze(-1))
    return combined - normaliser.masked_fill(normaliser == -torch.inf, 0.0)


def check_strength(beta: float, safe_set: float | None) -> None:
    """Refuse a β or an ε that makes no sense.

    Raises:
        ValueError: which one.
    """
    if not (isinstance(beta, int | float) and 0 <= beta <= _MOST):
        raise ProsocialError(f"beta must be a number >= 0 and at most {_MOST:g}, found {beta!r}")
    if safe_set is not None and not (isinstance(safe_set, int | float) and 0 < safe_set <= 1):
        raise ProsocialError(f"safe_set must be in (0, 1] or None, found {safe_set!r}")


def uncertain(base: Float[Tensor, "rows vocabulary"], min_entropy: float) -> Bool[Tensor, " rows"]:
    """Whether the base's next token is so uncertain that guidance is asked: its entropy is at least this, in nats.

    Args:
        base: logits or log-probabilities, fp32; −inf bars a token.
        min_entropy: the bound, >= 0.
    """
    return torch.special.entr(base.softmax(-1)).sum(-1) >= min_entropy


def check_entropy(min_entropy: float) -> None:
    """Refuse a bound that makes no sense.

    Raises:
        ValueError: it is negative, or no number.
    """
    if not (isinstance(min_entropy, int | float) and 0 <= min_entropy <= _MOST):
        raise ProsocialError(f"min_entropy must be a number >= 0, in nats, found {min_entropy!r}")


def _check_finite(normaliser: Float[Tensor, "*rows"]) -> None:
    """A row's normaliser is NaN or +inf whenever one of its entries is, and −inf where every token is barred."""
    bad = normaliser.isnan() | (normaliser == torch.inf)
    message = "scores are NaN or +inf; the base's or the ARM's logits are not finite"
    if normaliser.is_cuda or torch.compiler.is_compiling():
        # Asking for the value would make the processor wait for the device at every step, and break a compiled graph.
        torch._assert_async(~bad.any(), message)
    elif bool(bad.any()):
        rows = sorted(set(bad.nonzero()[:, 0].tolist()))
        raise ProsocialError(message.replace("; the", f" in rows {rows}; the"))
