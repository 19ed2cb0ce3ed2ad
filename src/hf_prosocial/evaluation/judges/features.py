"""What a small language model makes of a reply: its hidden states, averaged over the reply."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from hf_prosocial.batching import batches_by_length
from hf_prosocial.chat import templated
from hf_prosocial.evaluation.prompts import Prompt

Features = Float[np.ndarray, "replies features"]


class ReplyFeatures:
    """Mean hidden states over a reply's tokens, at some layers of a causal model, side by side.

    What was computed for a reply is kept, so that several heads cost one forward pass.

    Args:
        model: in evaluation mode.
        tokenizer: its own, with a chat template.
        layers: indices into the hidden states, 0 the embeddings.
        batch_tokens: the most tokens of a forward pass, padding included.
    """

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int], *, batch_tokens: int = 4096
    ) -> None:
        self.layers = tuple(layers)
        self._model, self._tokenizer, self._batch_tokens = model, tokenizer, batch_tokens
        self._known: dict[tuple[tuple[tuple[str, str], ...], str], Float[np.ndarray, " features"]] = {}

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Features:
        """One row a reply, fp32; a reply without a word is its end of turn.

        Raises:
            ValueError: a conversation that is longer than the model's context.
        """
        keys = [(prompt.conversation, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        missing = list(dict.fromkeys(key for key in keys if key not in self._known))
        rows = [
            templated(
                self._tokenizer,
                [{"role": role, "content": content} for role, content in conversation],
                [{"role": "assistant", "content": reply}],
            )
            for conversation, reply in missing
        ]
        lengths = [len(prompt) + len(reply) for prompt, reply in rows]
        most = self._model.config.max_position_embeddings
        if max(lengths, default=0) > most:
            raise ValueError(f"a conversation of {max(lengths)} tokens; the model that reads it holds {most}")
        with tqdm(total=len(rows), desc="reading replies", unit="reply", disable=None) as progress:
            for batch in batches_by_length(lengths, self._batch_tokens):
                found = self._states([rows[index] for index in batch])
                self._known |= {missing[index]: row for index, row in zip(batch, found, strict=True)}
                progress.update(len(batch))
        return np.stack([self._known[key] for key in keys])

    def _states(self, rows: Sequence[tuple[list[int], list[int]]]) -> Features:
        length = max(len(prompt) + len(reply) for prompt, reply in rows)
        ids, mask = torch.zeros(2, len(rows), length, dtype=torch.int64)
        of_reply = torch.zeros(len(rows), length)
        for row, (prompt, reply) in enumerate(rows):
            used = len(prompt) + len(reply)
            ids[row, :used], mask[row, :used] = torch.tensor(prompt + reply), 1
            of_reply[row, len(prompt) : used] = 1 / len(reply)
        device = self._model.device
        with torch.no_grad():
            states = self._model.get_decoder()(
                input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True, use_cache=False
            ).hidden_states
            means = [torch.einsum("nl,nlh->nh", of_reply.to(device), states[layer].float()) for layer in self.layers]
        return torch.cat(means, dim=-1).cpu().numpy()
