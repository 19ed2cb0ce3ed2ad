"""The requests of an engine's batch, slot by slot, as its model reads them; and their check at admission."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from hf_prosocial.errors import ProsocialError
from hf_prosocial.serving.guided_request import GuidedRequest

from .options import Options


class Requests(LogitsProcessor):
    """Follows the batch; it changes no logits, for the model guides.

    One object serves an engine's worker; its model finds it by `of_engine`.
    """

    _by_engine: ClassVar[dict[int, "Requests"]] = {}
    options: ClassVar[Options | None] = None

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse what cannot be honoured, by HTTP 400."""
        if cls.options is None:
            cls.options = Options.here()
        GuidedRequest.parse(sampling_params.extra_args, cls.options.objectives, cls.options.default)

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._options = Requests.options = Options.of(vllm_config)
        self._slots: dict[int, GuidedRequest] = {}
        Requests._by_engine[_key(vllm_config)] = self

    @classmethod
    def of_engine(cls, vllm_config: Any) -> "Requests":
        """Those of the engine that a configuration is of.

        Raises:
            ProsocialError: the engine was started without this class.
        """
        if _key(vllm_config) not in cls._by_engine:
            raise ProsocialError(
                "the engine does not tell its requests' preferences; start it as `prosocial serve` prints"
            )
        return cls._by_engine[_key(vllm_config)]

    def of_slots(self, count: int) -> list[GuidedRequest]:
        """The requests in the first slots of the batch."""
        return [self._slots[slot] for slot in range(count)]

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the batch."""
        if batch_update is None:
            return
        for slot in batch_update.removed:
            self._slots.pop(slot, None)
        for slot, params, _, _ in batch_update.added:
            self._slots[slot] = GuidedRequest.parse(params.extra_args, self._options.objectives, self._options.default)
        for one, other, direction in batch_update.moved:
            mine, theirs = self._slots.pop(one, None), self._slots.pop(other, None)
            if mine is not None:
                self._slots[other] = mine
            if theirs is not None and direction == MoveDirectionality.SWAP:
                self._slots[one] = theirs

    def apply(self, logits: Tensor) -> Tensor:
        """The logits as they are."""
        return logits

    def is_argmax_invariant(self) -> bool:
        """True: nothing is changed here."""
        return True


def _key(vllm_config: Any) -> int:
    """The same for all copies of an engine's configuration, which share this part of it."""
    return id(vllm_config.compilation_config.static_forward_context)
