"""A base and its ARM in one engine: one pass for both, and logits that are guided token by token."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from vllm.compilation.decorators import support_torch_compile
from vllm.config import VllmConfig
from vllm.forward_context import get_forward_context
from vllm.sequence import IntermediateTensors

from hf_prosocial.errors import ProsocialError

from .engine_checks import check_arm, check_engine, check_layers
from .forms import OwnWeights, SharedWeights
from .options import Options
from .requests import NO_CUT, Requests
from .state import GuidedState

_PIECES = 3
_HARM = 2


@support_torch_compile(dynamic_arg_dims={"input_ids": 0, "positions": -1, "between": 0})
class BothPasses(nn.Module):
    """What vLLM compiles: the passes of base and ARM, and each token's β and log ε beside its hidden states."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        options, config = Options.of(vllm_config), vllm_config.scheduler_config
        # Of each token of a step. Their places never change, so that a CUDA graph may read them.
        count = config.max_num_batched_tokens
        self.preferences: Tensor = nn.Buffer(
            torch.zeros(count, len(options.objectives), dtype=torch.float32), persistent=False
        )
        self.strengths: Tensor = nn.Buffer(torch.zeros(count, 3, dtype=torch.float32), persistent=False)
        self.form = _form(options)(vllm_config, prefix, options, self.preferences, self.strengths[:, _HARM:])
        check_arm(options)
        check_layers(vllm_config, options.architecture)

    def forward(
        self, input_ids: Tensor | None, positions: Tensor, between: IntermediateTensors | None
    ) -> Tensor | IntermediateTensors:
        """(tokens, hidden sizes of both + 6); of an inner stage of a pipeline, what the next one takes."""
        found = self.form(input_ids, positions, None if between is None else between.tensors)
        if isinstance(found, dict):
            return IntermediateTensors(found)
        base, arm = found
        strengths = self.strengths[: base.shape[0], :_HARM]
        return torch.cat([base, arm, *_pieces(strengths, base.dtype)], dim=-1)


class ProSocialForCausalLM(nn.Module):
    """Any decoder of vLLM's whose layers are `Attention` and whose linears can be hooked.

    Hidden states hold, side by side, the base's, the ARM's, and β and the safe set's log ε in pieces, which add up to
    fp32 in every dtype.
    """

    supports_pp = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        check_engine(vllm_config)
        self._vllm_config, self._loads = vllm_config, 0
        self.passes = BothPasses(vllm_config=vllm_config, prefix=prefix)
        self.form = self.passes.form

    def get_model_state_cls(self) -> type[GuidedState]:
        """What fills each step's preferences in vLLM's second runner; the first one has no such thing."""
        return GuidedState

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """The base's embeddings."""
        return self.form.embed(input_ids)

    def make_empty_intermediate_tensors(
        self, batch_size: int, dtype: torch.dtype, device: torch.device
    ) -> IntermediateTensors:
        """Room for what the stage before hands over."""
        return IntermediateTensors(self.form.empty(batch_size, dtype, device))

    def forward(
        self, input_ids: Tensor | None, positions: Tensor, intermediate_tensors: Any = None, inputs_embeds: Any = None
    ) -> Tensor | IntermediateTensors:
        """As `BothPasses.forward`."""
        if inputs_embeds is not None:
            raise ProsocialError("a guided model takes token ids alone")
        self._refuse_reloaded()
        if not self._vllm_config.use_v2_model_runner:
            self._fill()
        return self.passes(input_ids, positions, intermediate_tensors)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Guided logits, fp32: base + β · ARM within the safe set  [METHOD, section 3]."""
        sizes = self.form.hidden_sizes
        *hidden, strengths = hidden_states.split((*sizes, 2 * _PIECES), dim=-1)
        base, arm = self.form.logits(*hidden)
        if base is None or arm is None:
            return None
        base, arm = base.float(), arm.float()
        beta, cut = strengths.float().view(-1, _PIECES, 2, 1).sum(1).unbind(1)
        guided = torch.where(beta > 0, base + beta * arm, base)
        # Far down and not -inf: where a request's own mask leaves none of the safe set, its mask decides.
        return torch.where(base < base.amax(-1, keepdim=True) + cut, guided + NO_CUT, guided)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base's, and the ARM's from its own directory.

        Raises:
            ProsocialError: a second time: vLLM's ways to reload weights take the updates' away. No reply follows.
        """
        self._loads += 1
        self._refuse_reloaded()
        return {f"{where}.{name}" for name in self.form.load(weights) for where in ("form", "passes.form")}

    def _refuse_reloaded(self) -> None:
        if self._loads > 1:
            raise ProsocialError("the weights of a guided engine cannot be reloaded; start it again")

    def fill(self, requests: Tensor, strengths: Tensor, rows: Tensor) -> None:
        """Put a step's preferences and strengths where the passes read them.

        Args:
            requests: of each request, (requests, k) fp32.
            strengths: its β, log ε and λ, (requests, 3) fp32.
            rows: of each token, its request, (tokens,).
        """
        torch.index_select(requests, 0, rows, out=self.passes.preferences[: len(rows)])
        torch.index_select(strengths, 0, rows, out=self.passes.strengths[: len(rows)])

    def _fill(self) -> None:
        """From the batch as vLLM's first runner has it; nothing while the engine measures its memory."""
        metadata = get_forward_context().attn_metadata
        if not metadata:
            return
        device = self.passes.preferences.device
        lengths = next(iter(metadata.values())).query_start_loc.diff().to(device)
        preferences, strengths = Requests.of_engine(self._vllm_config).tensors(len(lengths), device)
        rows = torch.arange(len(lengths), device=device).repeat_interleave(lengths)
        self.fill(preferences, strengths, rows)


def _form(options: Options) -> type[SharedWeights] | type[OwnWeights]:
    return SharedWeights if options.arm_base is None else OwnWeights


def _pieces(values: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Numbers of fp32 as sums of numbers of a coarser dtype."""
    found = []
    for _ in range(_PIECES):
        found.append(values.to(dtype))
        values = values - found[-1].float()
    return found
