"""Mild rows to fine-tune on, and their loss one at a time."""

import torch

from support.rows import ASKED, CURT


def completion_rows(count=20):
    return [
        {
            "prompt": [{"role": "user", "content": ASKED[index % 5]}],
            "completion": [{"role": "assistant", "content": CURT[index % 5]}],
        }
        for index in range(count)
    ]


def completion_loss(model, completions):
    """Mean loss of the completions' tokens, nats, one unpadded row at a time."""
    total, tokens = 0.0, 0
    for row in completions.rows:
        ids = torch.tensor([row.prompt + row.completion])
        with torch.no_grad():
            log_probs = model(ids).logits[0, :-1].log_softmax(-1)
        of_completion = log_probs[torch.arange(len(row.prompt) - 1, ids.shape[1] - 1), ids[0, len(row.prompt) :]]
        total, tokens = total - of_completion.sum().item(), tokens + len(row.completion)
    return total / tokens
