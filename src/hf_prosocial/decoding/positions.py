"""How long a sequence may be for a model that learned an embedding for each position."""

from torch import nn
from transformers import PreTrainedModel

_OFFSET = 2
"""OPT's table has two rows more than positions."""


def learned_positions(model: PreTrainedModel) -> int | None:
    """The positions that a model has; None where it counts on without end, by rotary or relative positions."""
    most = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if most is None:
        return None
    words = model.get_input_embeddings()
    tables = (one for one in model.modules() if isinstance(one, nn.Embedding) and one is not words)
    return most if any(most <= one.num_embeddings <= most + _OFFSET for one in tables) else None
