"""log π_0 of training pairs, run once and kept: what `relative_to_base` compares with."""

import hashlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from hf_prosocial.data import Pairs
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import file_beside
from hf_prosocial.models import weight_hash

from .margins import score_pairs

LOG_PROBS = "log_probs"


def with_reference(
    pairs: Pairs, base: PreTrainedModel, file: str | Path, *, pad_token_id: int, batch_tokens: int = 4096
) -> Pairs:
    """The pairs with log π_0 of both replies, nats: read from a file, or run and kept there.

    Args:
        pairs: to train on.
        base: π_0, in the dtype and with the attention kernel of the training.
        file: safetensors; made where there is none.
        pad_token_id: fills the batches; masked, so that any id does.
        batch_tokens: the most tokens, padding included, of one forward pass.

    Raises:
        ValueError: the file is of another base or of other pairs.
    """
    file = Path(file)
    of = _identity(pairs, base)
    if file.exists():
        with safe_open(file, framework="pt") as kept:
            if kept.metadata().get("of") != of:
                raise ProsocialError(
                    f"{file} holds log-probabilities of other pairs or of another base (or dtype, or max_length); "
                    "choose another file, or take it away"
                )
            log_probs = kept.get_tensor(LOG_PROBS)
    else:
        (log_probs,) = score_pairs(base, base, pairs, [nullcontext], pad_token_id, batch_tokens)
        _save(log_probs, of, file)
    rows = [
        replace(pair, reference=(chosen, rejected))
        for pair, (chosen, rejected) in zip(pairs.rows, log_probs.T.tolist(), strict=True)
    ]
    return Pairs(pairs.objectives, rows, pairs.malformed, pairs.file)


def _save(log_probs: Float[Tensor, "2 pairs"], of: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file_beside(file) as work:
        save_file({LOG_PROBS: log_probs.contiguous()}, work, metadata={"of": of})


def _identity(pairs: Pairs, base: PreTrainedModel) -> str:
    """A hash of all that the log-probabilities follow from."""
    digest = hashlib.sha256(f"{weight_hash(base, base.dtype)} {base.dtype}\n".encode())
    for pair in pairs.rows:
        digest.update(repr((pair.prompt, pair.chosen, pair.rejected)).encode())
    return digest.hexdigest()
