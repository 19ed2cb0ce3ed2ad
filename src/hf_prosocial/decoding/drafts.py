"""A guide that drafts: its log-probabilities along one sequence, and tokens drawn from them."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation.candidate_generator import CandidateGenerator

from hf_prosocial.pblora import PBLoraModel
from hf_prosocial.precision import at_least_fp32

from .guide import arm_reader
from .per_thread import PerThread
from .rotary import RotaryChange


class _HeldSequence(PerThread):
    """One sequence, its cache, and the logits of its last positions."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Hold nothing."""
        self.cache: Any = None
        self.ids: Tensor | None = None
        self.logits: Tensor | None = None


class SequenceFollower:
    """An ARM's logits at the last positions of one growing sequence, at the cost of the tokens that are new.

    Args:
        tuner: with one active adapter, in evaluation mode.
        adapter: its name.

    Raises:
        ProsocialError: as `way_of`.
    """

    def __init__(self, tuner: PBLoraModel, adapter: str) -> None:
        self._tuner, self._adapter = tuner, adapter
        self._reader = arm_reader(tuner, adapter)
        self._held = _HeldSequence()

    def reset(self) -> None:
        """Forget the sequence."""
        self._held.forget()

    def logits(
        self, ids: Int[Tensor, "1 length"], last: int, weights: Float[Tensor, " k"]
    ) -> Float[Tensor, "1 last vocabulary"]:
        """The fp32 logits after each of the last positions of `ids`; rejected tokens are taken back.

        Args:
            ids: the sequence so far.
            last: how many positions.
            weights: p.
        """
        length = ids.shape[1]
        kept = self._keep_common(ids, length - last)
        held = self._held
        cache, logits = held.cache, held.logits
        held.forget()  # If the forward pass fails, nothing half-updated may remain.
        if kept < length:
            with self._tuner.preference_state.using(self._adapter, weights):
                new, cache = self._reader.read(
                    ids, torch.ones_like(ids), cache, kept, length - max(kept, length - last)
                )
            new = at_least_fp32(new)
            logits = new if logits is None else torch.cat([logits, new], dim=1)
        held.cache, held.ids, held.logits = cache, ids, cast(Tensor, logits)
        return held.logits[:, -last:]

    def _keep_common(self, ids: Int[Tensor, "1 length"], wanted: int) -> int:
        """Crop what is held to its common beginning with `ids`, and so far that `wanted` and on have logits."""
        held = self._held
        if held.ids is None or held.logits is None:
            return self._begin()
        length = held.ids.shape[1]
        shared = min(length, ids.shape[1])
        differs = (held.ids[0, :shared] != ids[0, :shared]).nonzero()
        kept = int(differs[0]) if len(differs) else shared
        first = length - held.logits.shape[1]
        if wanted < first:
            kept = min(kept, wanted)
        if kept <= first:
            held.logits = None
        else:
            held.logits = held.logits[:, : kept - first]
        return self._reader.shortened(held.cache, length, kept) or self._begin()

    def _begin(self) -> int:
        self._held.forget()
        return 0


class ArmDrafts(CandidateGenerator):
    """Drafts tokens by the ARM for transformers' assisted decoding, after the same processors as the target's.

    Args:
        follower: of the ARM.
        weights: p.
        count: γ, the tokens that are drafted at a time.
        max_length: of the whole sequence.
        do_sample: whether tokens are drawn, or the likeliest taken.
        processors: temperature, top-p and whatever else the target's scores go through.
        changes: of the rotary frequencies of target and ARM; no draft reaches over one.
    """

    def __init__(
        self,
        follower: SequenceFollower,
        weights: Float[Tensor, " k"],
        count: int,
        max_length: int,
        do_sample: bool,
        processors: LogitsProcessorList,
        changes: Sequence[RotaryChange],
    ) -> None:
        self.drafted, self.accepted = 0, 0
        self._follower, self._weights, self._count = follower, weights, count
        self._max_length, self._do_sample, self._processors = max_length, do_sample, processors
        self._last, self._changes = 0, changes

    def get_candidates(self, input_ids: Int[Tensor, "1 length"], **kwargs: Any) -> Any:
        """The sequence with its drafts (1, longer), and their scores (1, drafts, vocabulary)."""
        scores = []
        # The target adds a token of its own to whatever is accepted.
        length = input_ids.shape[1]
        # Read together with tokens beyond it, those before a change would have the frequencies after it.
        rooms = [one.length - length for one in self._changes if one.length >= length]
        self._last = max(0, min(self._count, self._max_length - length - 1, *rooms))
        for _ in range(self._last):
            arm: Any = self._follower.logits(input_ids, 1, self._weights)[:, 0].log_softmax(-1)
            found = self._processors(cast(torch.LongTensor, input_ids), arm)
            token = torch.multinomial(found.softmax(-1), 1) if self._do_sample else found.argmax(-1, keepdim=True)
            input_ids = torch.cat([input_ids, token], dim=1)
            scores.append(found)
        return input_ids, torch.stack(scores, dim=1) if scores else None

    def update_candidate_strategy(self, input_ids: Tensor, scores: Tensor, num_matches: int | Int[Tensor, ""]) -> None:
        """Count what was accepted."""
        self.drafted += self._last
        self.accepted += int(num_matches)
