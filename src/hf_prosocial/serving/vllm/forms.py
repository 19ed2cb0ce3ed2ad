"""Base and ARM in one engine: through the same weights, or each with its own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig
from vllm.config import VllmConfig
from vllm.model_executor.model_loader.weight_utils import safetensors_weights_iterator
from vllm.model_executor.models.registry import ModelRegistry
from vllm.sequence import IntermediateTensors

from hf_prosocial.errors import ProsocialError

from .attention_pairs import pair, recorded
from .harm import attach_harm
from .options import Options
from .updates import attach_updates

Between = dict[str, Tensor]
"""What one stage of a pipeline hands the next, (tokens, ...) each."""


class SharedWeights(nn.Module):
    """Twice the tokens through one model: weights of the base alone, an update of low rank on the ARM's half.

    A second one may act on the base's half: λ times a harm vector, taken away.
    """

    def __init__(
        self, vllm_config: VllmConfig, prefix: str, options: Options, preferences: Tensor, harm_scales: Tensor
    ) -> None:
        super().__init__()
        with recorded() as given:
            self.inner = _made(vllm_config, prefix, options.architecture)
        pair(self.inner, given)
        self.hidden_sizes = (vllm_config.model_config.get_hidden_size(),) * 2
        self._arm, self._preferences = options.arm, preferences
        self._options, self._harm_scales = options, harm_scales

    def forward(
        self, input_ids: Tensor | None, positions: Tensor, between: Between | None
    ) -> tuple[Tensor, Tensor] | Between:
        """Hidden states of base and ARM, (tokens, hidden) each; of an inner stage what the next one takes.

        Args:
            input_ids: (tokens,); None in a later stage.
            positions: (tokens,).
            between: what the stage before handed over; None in the first.
        """
        given = None
        if between is not None:
            given = IntermediateTensors({name: torch.cat(one.chunk(2, dim=-1)) for name, one in between.items()})
        ids = None if input_ids is None else torch.cat([input_ids, input_ids])
        found = self.inner(ids, torch.cat([positions, positions], dim=-1), given)
        if isinstance(found, IntermediateTensors):
            return {name: torch.cat(one.chunk(2), dim=-1) for name, one in found.tensors.items()}
        base, arm = found.chunk(2)
        return base, arm

    def empty(self, count: int, dtype: torch.dtype, device: torch.device) -> Between:
        """Room for what the stage before hands over."""
        found = self.inner.make_empty_intermediate_tensors(count, dtype, device)
        return {name: torch.cat([one, one], dim=-1) for name, one in found.tensors.items()}

    def embed(self, input_ids: Tensor) -> Tensor:
        """The base's embeddings."""
        return self.inner.embed_input_ids(input_ids)

    def logits(self, base: Tensor, arm: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Of both, (rows, vocabulary) each; None where another device gathers them."""
        return self.inner.compute_logits(base), self.inner.compute_logits(arm)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base's from the engine, the update's from its own directory; names of what was loaded."""
        loaded = {f"inner.{name}" for name in self.inner.load_weights(weights)}
        attach_updates(self.inner, self._arm, self._preferences, on_second_half=True)
        if self._options.vector is not None:
            attach_harm(self.inner, self._options, self._harm_scales, on_first_half=True)
        return loaded


class OwnWeights(nn.Module):
    """Two models: the ARM's base is another one, as an unedited base beside an edited one."""

    def __init__(
        self, vllm_config: VllmConfig, prefix: str, options: Options, preferences: Tensor, harm_scales: Tensor
    ) -> None:
        super().__init__()
        assert options.arm_base is not None
        assert options.arm_architecture is not None
        self._directory = options.arm_base
        config, width = AutoConfig.from_pretrained(options.arm_base), vllm_config.model_config.get_vocab_size()
        of_arm, own = vllm_config.with_hf_config(config, [options.arm_architecture]), config.get_text_config()
        if own.vocab_size != width:
            raise ProsocialError(f"the base scores {width} tokens and the ARM's base {own.vocab_size}")
        self.base = _made(vllm_config, prefix, options.architecture)
        self.arm = _made(of_arm, "arm", options.arm_architecture)
        self.hidden_sizes = (vllm_config.model_config.get_hidden_size(), own.hidden_size)
        self._arm, self._preferences = options.arm, preferences
        self._options, self._harm_scales = options, harm_scales

    def forward(
        self, input_ids: Tensor | None, positions: Tensor, between: Between | None
    ) -> tuple[Tensor, Tensor] | Between:
        """As `SharedWeights.forward`."""
        base, arm = (
            model(input_ids, positions, None if between is None else _of(between, name))
            for name, model in (("base", self.base), ("arm", self.arm))
        )
        if isinstance(base, IntermediateTensors):
            return _named(base, arm)
        return base, arm

    def empty(self, count: int, dtype: torch.dtype, device: torch.device) -> Between:
        """As `SharedWeights.empty`."""
        return _named(*(one.make_empty_intermediate_tensors(count, dtype, device) for one in (self.base, self.arm)))

    def embed(self, input_ids: Tensor) -> Tensor:
        """The base's embeddings."""
        return self.base.embed_input_ids(input_ids)

    def logits(self, base: Tensor, arm: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """As `SharedWeights.logits`."""
        return self.base.compute_logits(base), self.arm.compute_logits(arm)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base's from the engine, the ARM's and its base's from their own directories."""
        files = [str(path) for path in sorted(Path(self._directory).glob("*.safetensors"))]
        loaded = {f"base.{name}" for name in self.base.load_weights(weights)}
        loaded |= {f"arm.{name}" for name in self.arm.load_weights(safetensors_weights_iterator(files, False))}
        attach_updates(self.arm, self._arm, self._preferences, on_second_half=False)
        if self._options.vector is not None:
            attach_harm(self.base, self._options, self._harm_scales, on_first_half=False)
        return loaded


def _made(vllm_config: VllmConfig, prefix: str, architecture: str) -> Any:
    """A model of vLLM's, whose parts are not compiled apart: the whole of both passes is."""
    cls, _ = ModelRegistry.resolve_model_cls([architecture], vllm_config.model_config)
    model = cls(vllm_config=vllm_config, prefix=prefix)
    for module in model.modules():
        if "do_not_compile" in vars(module):
            module.do_not_compile = True
    return model


def _named(base: IntermediateTensors, arm: IntermediateTensors) -> Between:
    both = (("base", base), ("arm", arm))
    return {f"{whose}.{name}": one for whose, found in both for name, one in found.tensors.items()}


def _of(between: Between, whose: str) -> IntermediateTensors:
    return IntermediateTensors(
        {name.removeprefix(f"{whose}."): one for name, one in between.items() if name.startswith(f"{whose}.")}
    )
