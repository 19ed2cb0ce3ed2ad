"""PBLoRA's updates outside the linears: they act on the ARM's tokens, each token by its own preference."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hf_prosocial.errors import ProsocialError

# Which of the checkpoint's linears vLLM keeps in one, in their order there.
STACKED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class Updates:
    """All updates of an adapter, computed in fp32.

    Args:
        arm: its directory.
    """

    def __init__(self, arm: str) -> None:
        config = json.loads((Path(arm) / "adapter_config.json").read_text(encoding="utf-8"))
        self.r1, self.r2, self.scaling = config["r1"], config["r2"], config["lora_alpha"] / config["r2"]
        self._weights = load_file(Path(arm) / "adapter_model.safetensors")
        self._preferences: Tensor | None = None

    @contextmanager
    def using(self, preferences: Tensor) -> Generator[None]:
        """Put the tokens' preferences, (tokens, k), in force for a forward pass of twice as many tokens."""
        self._preferences = preferences
        try:
            yield
        finally:
            self._preferences = None

    def attach(self, model: nn.Module) -> None:
        """Hook the linears of a model, found by the adapter's own names.

        Raises:
            ProsocialError: an update for a linear that the model does not have.
        """
        left = dict(self._weights)
        layer: Any
        for name, layer in model.named_modules():
            own = name.rpartition(".")[2]
            parts = STACKED.get(own, (own,))
            updates = [self._taken(left, f"{name.removesuffix(own)}{part}") for part in parts]
            if any(update is not None for update in updates):
                layer.register_forward_hook(self._hook(updates, layer.output_sizes if len(parts) > 1 else [0]))
        if left:
            raise ProsocialError(f"the ARM updates {sorted(left)[0]}, and the engine's model has no such linear")

    def _taken(self, left: dict[str, Tensor], name: str) -> dict[str, Tensor] | None:
        keys = {part: f"base_model.model.{name}.pblora_{part}" for part in ("A", "B", "W1", "W2")}
        return {part: left.pop(key) for part, key in keys.items()} if keys["A"] in left else None

    def _hook(self, updates: list[dict[str, Tensor] | None], sizes: Sequence[int]) -> Any:
        starts = [sum(sizes[:index]) for index in range(len(sizes))]

        def add(layer: nn.Module, args: tuple[Tensor, ...], result: Any) -> Any:
            if self._preferences is None:
                return result
            output = result[0] if isinstance(result, tuple) else result
            half = len(output) // 2
            x = args[0][half:].float()
            for start, update in zip(starts, updates, strict=True):
                if update is not None:
                    added = self._update(x, update)
                    output[half:, start : start + added.shape[-1]] += added.to(output.dtype)
            return result

        return add

    def _update(self, x: Tensor, update: dict[str, Tensor]) -> Tensor:
        """s · B · blockdiag(W1, W2(p)) · A x of each token, fp32."""
        assert self._preferences is not None
        z1, z2 = (x @ update["A"].T).split((self.r1, self.r2), dim=-1)
        W2 = (self._preferences @ update["W2"]).view(-1, self.r2, self.r2)
        mixed = torch.cat([z1 @ update["W1"].T, torch.bmm(W2, z2.unsqueeze(-1)).squeeze(-1)], dim=-1)
        return self.scaling * mixed @ update["B"].T
