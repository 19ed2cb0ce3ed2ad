"""The losses of PV-ARM's training, one value a pair  [METHOD, section 2]."""

from jaxtyping import Float
from torch import Tensor, nn


def pair_losses(log_probs: Float[Tensor, "2 rows"], beta_r: float) -> Float[Tensor, " rows"]:
    """ℓ = −log σ(β_r · (log π_r(y_w | x, p) − log π_r(y_l | x, p)))."""
    chosen, rejected = log_probs
    return -nn.functional.logsigmoid(beta_r * (chosen - rejected))


def contrast_losses(
    log_probs: Float[Tensor, "2 2 rows"],
    tokens: Float[Tensor, "2 rows"],
    weights: Float[Tensor, "2 rows"],
    beta_r: float,
) -> Float[Tensor, " rows"]:
    """|d| · −log σ(β_r · sign(d) · (m(p) − m(p'))), d = p_i − p'_i for a pair that is labelled for objective i.

    ℓ asks a pair to be ordered under the preferences that it is seen under and nothing of the others, so that an ARM
    may order every pair under every p. This asks for what control means: of two preferences, the one that weighs the
    pair's objective more orders it better. log π_0 cancels in m(p) − m(p'), so no reference model is needed.

    m is h · (log π_r(y_w)/|y_w| − log π_r(y_l)/|y_l|), h the harmonic mean of the lengths: the summed margin less what
    the pair's mean log-probability per token adds through the difference of the lengths. Otherwise p would learn to
    control length.

    Args:
        log_probs: of the chosen and the rejected replies (second axis), under p and under p' (first axis); nats.
        tokens: the replies' lengths |y_w|, |y_l|.
        weights: p_i and p'_i.
        beta_r: as in ℓ.
    """
    chosen, rejected = (log_probs / tokens).unbind(1)
    harmonic_mean = 2 * tokens.prod(0) / tokens.sum(0)
    margin, other_margin = harmonic_mean * (chosen - rejected)
    difference = weights[0] - weights[1]
    gain = difference.sign() * (margin - other_margin)
    return -difference.abs() * nn.functional.logsigmoid(beta_r * gain)
