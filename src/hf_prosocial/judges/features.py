"""What a small language model makes of a reply: its hidden states, averaged over the reply."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import Prompt, batches_by_length, templated
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar
from hf_prosocial.models import begin_alike, states_after

Features = Float[np.ndarray, "replies features"]
Conversation = tuple[tuple[str, str], ...]
_Read = dict[tuple[Conversation, str], Float[np.ndarray, " features"]]
_MANY = 6
"""So many replies to one prompt make batches of their own, which read the prompt once."""


@runtime_checkable
class FeatureReader(Protocol):
    """Gives each reply a row of features."""

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Features:
        """One row a reply, fp32."""
        ...

    def readable(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Bool[np.ndarray, " replies"]:
        """Whether each conversation can be read."""
        ...


class ReplyFeatures:
    """Mean hidden states over a reply's tokens, at some layers of a causal model, side by side.

    The tokens that all prompts of a batch begin with are read once. What was read last is kept, so that several heads
    cost one forward pass. No other call has a say in how a call's replies are batched, so that its features are the
    same to the bit whenever it is made.

    Args:
        model: in evaluation mode.
        tokenizer: its own, with a chat template.
        layers: indices into the hidden states, 0 the embeddings.
        batch_tokens: the most tokens of a forward pass, padding included.
    """

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int], *, batch_tokens: int = 4096
    ) -> None:
        most = model.config.num_hidden_layers
        wrong = [layer for layer in layers if not 0 <= layer <= most]
        if wrong:
            raise ProsocialError(f"there are no hidden states {wrong}; the model has 0 (its embeddings) to {most}")
        self.layers = tuple(layers)
        self._model, self._tokenizer, self._batch_tokens = model, tokenizer, batch_tokens
        self._read_last: _Read = {}

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Features:
        """One row a reply, fp32; a reply without a word is its end of turn.

        Raises:
            ValueError: a conversation that is not `readable`.
        """
        keys = [(prompt.conversation, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        if self._read_last.keys() != set(keys):
            self._read_last = self._read(list(dict.fromkeys(keys)))
        return np.stack([self._read_last[key] for key in keys])

    def readable(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Bool[np.ndarray, " replies"]:
        """Whether each conversation fits the model's context and the tokenizer's chat template."""
        found = []
        for prompt, reply in zip(prompts, replies, strict=True):
            try:
                self._row(prompt.conversation, reply)
            except ProsocialError:
                found.append(False)
            else:
                found.append(True)
        return np.array(found, dtype=bool)

    def _row(self, conversation: Conversation, reply: str) -> tuple[list[int], list[int]]:
        said = [{"role": role, "content": content} for role, content in conversation]
        prompt, answer = templated(self._tokenizer, said, [{"role": "assistant", "content": reply}])
        length, most = len(prompt) + len(answer), self._model.config.max_position_embeddings
        if length > most:
            raise ProsocialError(f"a conversation of {length} tokens; the model that reads it holds {most}")
        return prompt, answer

    def _read(self, keys: Sequence[tuple[Conversation, str]]) -> _Read:
        rows = [self._row(*key) for key in keys]
        lengths = [len(prompt) + len(reply) for prompt, reply in rows]
        read: _Read = {}
        with progress_bar(len(rows), "reading replies", "reply") as progress:
            for batch in _batches([conversation for conversation, _ in keys], lengths, self._batch_tokens):
                found = self._states([rows[index] for index in batch])
                read |= {keys[index]: row for index, row in zip(batch, found, strict=True)}
                progress.update(len(batch))
        return read

    def _states(self, rows: Sequence[tuple[list[int], list[int]]]) -> Features:
        begin = begin_alike([prompt for prompt, _ in rows])
        states, mask = states_after(self._model, [prompt + reply for prompt, reply in rows], begin)
        of_reply = torch.zeros(mask.shape)
        for row, (prompt, reply) in enumerate(rows):
            of_reply[row, len(prompt) - begin : len(prompt) + len(reply) - begin] = 1 / len(reply)
        of_reply = of_reply.to(mask.device)
        means = [torch.einsum("nl,nlh->nh", of_reply, states[layer].float()) for layer in self.layers]
        return torch.cat(means, dim=-1).cpu().numpy()


def _batches(conversations: Sequence[Conversation], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of similar length; those of one conversation apart, where there are many, to share its reading."""
    together, apart = [], defaultdict(list)
    counts = Counter(conversations)
    for index, one in enumerate(conversations):
        (apart[one] if counts[one] >= _MANY else together).append(index)
    for group in (together, *apart.values()):
        for batch in batches_by_length([lengths[index] for index in group], batch_tokens):
            yield [group[place] for place in batch]
