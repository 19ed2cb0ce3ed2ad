"""The losses of PV-ARM's training, one value a pair  [METHOD, section 2]."""

from jaxtyping import Float
from torch import Tensor, nn


def pair_losses(margins: Float[Tensor, " rows"], beta_r: float) -> Float[Tensor, " rows"]:
    """ℓ = −log σ(β_r · m), m = log π_r(y_w | x, p) − log π_r(y_l | x, p) or what stands for it."""
    return -nn.functional.logsigmoid(beta_r * margins)


def summed_margins(log_probs: Float[Tensor, "*draws 2 rows"]) -> Float[Tensor, "*draws rows"]:
    """log π(y_w) − log π(y_l), nats  [METHOD]."""
    chosen, rejected = log_probs.unbind(-2)
    return chosen - rejected


def length_free_margins(
    log_probs: Float[Tensor, "*draws 2 rows"], tokens: Float[Tensor, "2 rows"]
) -> Float[Tensor, "*draws rows"]:
    """h · (log π(y_w)/|y_w| − log π(y_l)/|y_l|), nats; h is the harmonic mean of the lengths.

    It is the summed margin less what the pair's mean log-probability per token adds through the difference of the
    lengths, so that a uniform gain per token leaves it as it is.

    Args:
        log_probs: of the chosen and the rejected replies.
        tokens: the replies' lengths |y_w|, |y_l|.
    """
    harmonic_mean = 2 * tokens.prod(0) / tokens.sum(0)
    return harmonic_mean * summed_margins(log_probs / tokens)


def chosen_losses(log_probs: Float[Tensor, "2 rows"], tokens: Float[Tensor, "2 rows"]) -> Float[Tensor, " rows"]:
    """−log π_r(y_w | x, p) / |y_w|, nats per token: the negative log-likelihood that RPO adds to ℓ  [arXiv 2404.19733].

    ℓ is content when both replies become unlikely, the rejected one faster. What guides decoding is a distribution, and
    one that has left the chosen replies guides to neither.

    Args:
        log_probs: of the chosen and the rejected replies.
        tokens: the replies' lengths |y_w|, |y_l|.
    """
    return -log_probs[0] / tokens[0]


def contrast_losses(
    margins: Float[Tensor, "2 rows"], weights: Float[Tensor, "2 rows"], beta_r: float
) -> Float[Tensor, " rows"]:
    """|d| · −log σ(β_r · sign(d) · (m(p) − m(p'))), d = p_i − p'_i for a pair that is labelled for objective i.

    ℓ asks a pair to be ordered under the preferences that it is seen under and nothing of the others, so that an ARM
    may order every pair under every p. This asks for what control means: of two preferences, the one that weighs the
    pair's objective more orders it better. log π_0 cancels in m(p) − m(p'), so no reference model is needed.

    Args:
        margins: `length_free_margins` under p and under p'; otherwise p would learn to control length.
        weights: p_i and p'_i.
        beta_r: as in ℓ.
    """
    difference = weights[0] - weights[1]
    gain = difference.sign() * (margins[0] - margins[1])
    return -difference.abs() * nn.functional.logsigmoid(beta_r * gain)
