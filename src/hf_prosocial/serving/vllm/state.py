"""The requests of a batch as vLLM's second runner tells them to its model."""

from typing import Any

import numpy as np
import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.v1.worker.gpu.model_states.default import DefaultModelState

from .options import Options
from .requests import strengths_of


class GuidedState(DefaultModelState):
    """Keeps each request's preference and strengths by its slot, and puts a step's where the model reads them."""

    def __init__(self, vllm_config: VllmConfig, model: nn.Module, encoder_cache: Any, device: torch.device) -> None:
        super().__init__(vllm_config, model, encoder_cache, device)
        self._options = Options.of(vllm_config)
        self._preferences = torch.zeros(
            self.max_num_reqs, len(self._options.objectives), dtype=torch.float32, device=device
        )
        self._strengths = torch.zeros(self.max_num_reqs, 3, dtype=torch.float32, device=device)

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        """Take a request's preference into its slot, whatever was there."""
        super().add_request(req_index, new_req_data)
        given = None if new_req_data.sampling_params is None else new_req_data.sampling_params.extra_args
        request = self._options.parse(given)
        self._preferences[req_index] = request.preference.tensor().to(self.device)
        self._strengths[req_index] = torch.tensor(strengths_of(request, self._options.vector_scale), device=self.device)

    def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Any]:
        """Fill the step's tokens; padding keeps what was there, which nothing reads."""
        lengths = np.diff(input_batch.query_start_loc_np[: input_batch.num_reqs + 1])
        slots = np.repeat(input_batch.idx_mapping_np[: input_batch.num_reqs], lengths)
        rows = torch.from_numpy(slots).to(self.device, non_blocking=True)
        self.model.fill(self._preferences, self._strengths, rows)
        return super().prepare_inputs(input_batch, req_states)
