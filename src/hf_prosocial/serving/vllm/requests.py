"""The requests of an engine's batch, slot by slot, as its model reads them; and their check at admission."""

from math import log
from typing import Any, ClassVar

import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondLogitsProcessor

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import guidance_share
from hf_prosocial.serving.guided_request import GuidedRequest

from .options import Options

NO_CUT = -1e4
"""log ε where nothing is cut: below every token that has a probability in fp32, and a number in fp16 too."""


class Requests(LogitsProcessor, SecondLogitsProcessor):
    """Checks requests at admission and follows the batch; it changes no logits, for the model guides.

    It is of both of vLLM's interfaces. In the first model runner one object serves an engine's worker, and its model
    finds it by `of_engine`; in the second one the model has a state of its own, and this class only checks.
    """

    _by_engine: ClassVar[dict[int, "Requests"]] = {}
    options: ClassVar[Options | None] = None

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse what cannot be honoured, by HTTP 400."""
        if cls.options is None:
            cls.options = Options.here()
        cls.options.parse(sampling_params.extra_args)

    def __init__(self, vllm_config: Any, *runner: Any) -> None:
        self._options = Requests.options = Options.of(vllm_config)
        self._slots: dict[int, tuple[Tensor, tuple[float, float, float]]] = {}
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

    def tensors(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Of the requests in the first slots of the batch: preferences, (count, k), and β, log ε and λ, (count, 3)."""
        preferences, strengths = zip(*(self._slots[slot] for slot in range(count)), strict=True)
        return torch.stack(preferences).to(device), torch.tensor(strengths, device=device)

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the batch."""
        if batch_update is None:
            return
        for slot in batch_update.removed:
            self._slots.pop(slot, None)
        for slot, params, _, _ in batch_update.added:
            request = self._options.parse(params.extra_args)
            # Once a request, for tensors() is called at every step.
            self._slots[slot] = request.preference.tensor(), strengths_of(request, self._options.vector_scale)
        for one, other, direction in batch_update.moved:
            mine, theirs = self._slots.pop(one, None), self._slots.pop(other, None)
            if mine is not None:
                self._slots[other] = mine
            if theirs is not None and direction == MoveDirectionality.SWAP:
                self._slots[one] = theirs

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        """False: this request's logits are not changed here."""
        return False

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """The logits as they are."""
        return logits

    def is_argmax_invariant(self) -> bool:
        """True: nothing is changed here."""
        return True


def strengths_of(request: GuidedRequest, vector_scale: float) -> tuple[float, float, float]:
    """β(x), the safe set's log ε, and λ(x): of β is left what the vector's own λ leaves, as in a `GuidedModel`."""
    beta = request.beta * float(guidance_share(torch.tensor([request.harm_scale]), vector_scale))
    return beta, NO_CUT if request.safe_set is None else log(request.safe_set), request.harm_scale


def _key(vllm_config: Any) -> int:
    """The same for all copies of an engine's configuration, which share this part of it."""
    return id(vllm_config.compilation_config.static_forward_context)
