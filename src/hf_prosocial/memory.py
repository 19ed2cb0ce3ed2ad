"""Two models over one memory."""

import copy

from torch import nn
from transformers import PreTrainedModel


def sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A second model over the same memory: adapters put on it leave the first one as it is."""
    memo: dict[int, object] = {}
    for weight in model.parameters():
        memo[id(weight)] = nn.Parameter(weight.detach(), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer
    return copy.deepcopy(model, memo)
