"""A base and its ARM through the same weights in one engine: twice the tokens, two caches, one update of low rank."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.forward_context import get_forward_context
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.registry import ModelRegistry

from hf_prosocial.errors import ProsocialError

from .options import Options
from .requests import Requests
from .updates import Updates

_PIECES = 3
_NO_CUT = -1e4
"""log ε where nothing is cut: below every token that has a probability in fp32, and a number in fp16 too."""


class AttentionPair(nn.Module):
    """An attention layer for the first half of the tokens, the base's, and one of its own cache for the ARM's."""

    def __init__(self, base: Attention, given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        super().__init__()
        args, kwargs = given
        if kwargs.get("kv_sharing_target_layer_name") is not None:
            raise ProsocialError("layers that share another's cache cannot be guided in one engine")
        self.base, self.arm = base, Attention(*args, **(kwargs | {"prefix": f"{kwargs['prefix']}_of_arm"}))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Each half by its own layer."""
        half = len(query) // 2
        return torch.cat(
            [self.base(query[:half], key[:half], value[:half]), self.arm(query[half:], key[half:], value[half:])]
        )


class ProSocialForCausalLM(nn.Module):
    """Any decoder of vLLM's whose layers are `Attention` and whose linears can be hooked.

    Hidden states hold, side by side, the base's, the ARM's, and β and the safe set's log ε in pieces, which add up to
    fp32 in every dtype.
    """

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        self._options = Options.of(vllm_config)
        _check_engine(vllm_config)
        self._vllm_config = vllm_config
        inner, _ = ModelRegistry.resolve_model_cls([self._options.architecture], vllm_config.model_config)
        with _recorded() as given:
            self.inner = inner(vllm_config=vllm_config, prefix=prefix)
        others = {type(layer).__name__ for layer in _layers(vllm_config) if type(layer) is not Attention}
        if others:
            raise ProsocialError(
                f"{self._options.architecture} mixes tokens by {', '.join(sorted(others))}, not Attention"
            )
        for name, layer in list(self.inner.named_modules()):
            if isinstance(layer, Attention):
                parent, _, own = name.rpartition(".")
                setattr(self.inner.get_submodule(parent), own, AttentionPair(layer, given[layer.layer_name]))
        self.hidden_size = vllm_config.model_config.get_hidden_size()
        self.updates = Updates(self._options.arm)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """The base's embeddings."""
        return self.inner.embed_input_ids(input_ids)

    def forward(
        self, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None, inputs_embeds: Any = None
    ) -> Tensor:
        """(tokens, 2 · hidden + 6)."""
        if intermediate_tensors is not None or inputs_embeds is not None:
            raise ProsocialError("a guided model takes token ids alone")
        weights, strengths = self._of_tokens(len(input_ids), positions.device)
        with self.updates.using(weights):
            hidden = self.inner(torch.cat([input_ids, input_ids]), torch.cat([positions, positions], dim=-1))
        base, arm = hidden.chunk(2)
        return torch.cat([base, arm, *_pieces(strengths, hidden.dtype)], dim=-1)

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Guided logits, fp32: base + β · ARM within the safe set  [METHOD, section 3]."""
        size = self.hidden_size
        base, arm = (self.inner.compute_logits(part).float() for part in hidden_states[:, : 2 * size].split(size, -1))
        beta, cut = hidden_states[:, 2 * size :].float().view(-1, _PIECES, 2, 1).sum(1).unbind(1)
        guided = torch.where(beta > 0, base + beta * arm, base)
        return guided.masked_fill(base < base.amax(-1, keepdim=True) + cut, -torch.inf)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base's, and the ARM's from its own directory."""
        loaded = {f"inner.{name}" for name in self.inner.load_weights(weights)}
        self.updates.attach(self.inner)
        return loaded

    def _of_tokens(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Of each token its request's preference, (tokens, k), and β and log ε, (tokens, 2); padding has none."""
        weights = torch.zeros(count, len(self._options.objectives), device=device)
        strengths = torch.tensor([[0.0, _NO_CUT]], device=device).repeat(count, 1)
        metadata = get_forward_context().attn_metadata
        if not metadata:
            return weights, strengths  # The engine measures its memory.
        lengths = next(iter(metadata.values())).query_start_loc.diff()
        requests = Requests.of_engine(self._vllm_config).of_slots(len(lengths))
        rows = torch.arange(len(lengths), device=device).repeat_interleave(lengths.to(device))
        of_rows = torch.stack([one.preference.tensor() for one in requests]).to(device)
        cuts = [_NO_CUT if one.safe_set is None else log(one.safe_set) for one in requests]
        weights[: len(rows)] = of_rows[rows]
        strengths[: len(rows), 0] = torch.tensor([one.beta for one in requests], device=device)[rows]
        strengths[: len(rows), 1] = torch.tensor(cuts, device=device)[rows]
        return weights, strengths


def _check_engine(vllm_config: VllmConfig) -> None:
    """Refuse what would guide wrongly, or was not tried.

    Raises:
        ProsocialError: which of the engine's settings, and what to do.
    """
    parallel = vllm_config.parallel_config
    refused = {
        "several devices for one model (use --data-parallel-size)": parallel.world_size > 1,
        "compilation and CUDA graphs (give --enforce-eager)": not vllm_config.model_config.enforce_eager,
        "LoRA adapters beside the ARM (leave --enable-lora out)": vllm_config.lora_config is not None,
        "drafting (leave the speculative configuration out)": vllm_config.speculative_config is not None,
    }
    found = [name for name, asked in refused.items() if asked]
    if found:
        raise ProsocialError(f"a guided model in vLLM cannot have {', '.join(found)}")


def _layers(vllm_config: VllmConfig) -> list[object]:
    """All layers of an engine that hold a cache or a state."""
    return list(vllm_config.compilation_config.static_forward_context.values())


def _pieces(values: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Numbers of fp32 as sums of numbers of a coarser dtype."""
    found = []
    for _ in range(_PIECES):
        found.append(values.to(dtype))
        values = values - found[-1].float()
    return found


@contextmanager
def _recorded() -> Generator[dict[str, tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What every attention layer is made with, by its name; vLLM's layers do not keep it."""
    given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    original = Attention.__init__

    def recording(self: Attention, *args: Any, **kwargs: Any) -> None:
        given[kwargs["prefix"]] = (args, kwargs)
        original(self, *args, **kwargs)

    Attention.__init__ = recording
    try:
        yield given
    finally:
        Attention.__init__ = original
