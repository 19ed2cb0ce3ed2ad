"""The PBLoRA layer: factored, so that ΔW is never built in a forward pass."""

import math
import warnings
from typing import Any

import torch
from jaxtyping import Float, Shaped
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hf_prosocial.errors import ProsocialError
from hf_prosocial.precision import at_least_fp32

from .config import PBLoraConfig
from .objective_copies import ObjectiveCopies
from .preference_state import PreferenceState
from .row_dropout import RowDropout


class PBLoraLayer(nn.Module, BaseTunerLayer):
    """Wraps an `nn.Linear` or a GPT-2 `Conv1D` and adds s · (B1·W1·A1 + B2·W2(p)·A2) x  [PARM, eq. 6].

    Parameters by adapter, as [PARM] stores them: `pblora_A` (r1+r2, in) = [A1; A2], `pblora_B` (out, r1+r2) =
    [B1, B2], `pblora_W1` (r1, r1), `pblora_W2` (k, r2²), row i being W2_i row by row.
    """

    adapter_layer_names: tuple[str, ...] = ("pblora_A", "pblora_B", "pblora_W1", "pblora_W2")
    other_param_names: tuple[str, ...] = ("pblora_config", "pblora_dropout")

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: PBLoraConfig, preference_state: PreferenceState
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = features(self.get_base_layer())
        self.preference_state = preference_state
        self.pblora_config: dict[str, PBLoraConfig] = {}
        self.pblora_dropout = nn.ModuleDict()
        self.pblora_A = nn.ParameterDict()
        self.pblora_B = nn.ParameterDict()
        self.pblora_W1 = nn.ParameterDict()
        self.pblora_W2 = nn.ParameterDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._merged_weights: dict[str, Tensor] = {}
        self.objective_copies: dict[str, ObjectiveCopies] = {}
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: PBLoraConfig) -> None:
        """Add an adapter: A, W1 and W2 kaiming-uniform(√5), B zero  [PARM]."""
        self.pblora_config[adapter_name] = config
        self.pblora_dropout[adapter_name] = RowDropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        k = len(config.names)
        self.pblora_A[adapter_name] = nn.Parameter(torch.empty(config.rank, self.in_features))
        self.pblora_B[adapter_name] = nn.Parameter(torch.zeros(self.out_features, config.rank))
        self.pblora_W1[adapter_name] = nn.Parameter(torch.empty(config.r1, config.r1))
        self.pblora_W2[adapter_name] = nn.Parameter(torch.empty(k, config.r2**2))
        for weights in (self.pblora_A, self.pblora_W1, self.pblora_W2):
            if weights[adapter_name].numel():
                nn.init.kaiming_uniform_(weights[adapter_name], a=math.sqrt(5))
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    def forward(self, x: Float[Tensor, "*batch in"], *args: Any, **kwargs: Any) -> Float[Tensor, "*batch out"]:
        """The base layer's output plus the active adapters'. (Further arguments go to the base layer, as in PEFT.)

        Raises:
            RuntimeError: an active adapter has no preference.
            ValueError: a preference per row, and an input whose rows are not those of the batch.
        """
        if self.disable_adapters and self.merged:
            self.unmerge()
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        composed = None if torch.is_grad_enabled() else self._composed()
        if composed:
            return _added(result, x, *composed)
        unguided = self.preference_state.unguided_rows
        if unguided:
            return self._guide_last_rows(x, result, unguided)
        dtype = result.dtype
        for adapter in self.active_adapters:
            if adapter in self.pblora_A:
                result = result + self._update(x, adapter)
        return result.to(dtype)

    def _composed(self) -> tuple[Tensor, Tensor] | None:
        """(Aᵀ, (B · core)ᵀ) of one preference for all rows, where a generation keeps it: two products a step."""
        kept = self.preference_state.kept
        if kept is None:
            return None
        if self not in kept:
            kept[self] = self._compose()
        return kept[self]

    def _compose(self) -> tuple[Tensor, Tensor] | None:
        active = [adapter for adapter in self.active_adapters if adapter in self.pblora_A]
        if len(active) != 1 or self.training or active[0] in self.objective_copies:
            return None
        A, B = self.pblora_A[active[0]], self.pblora_B[active[0]]
        p = self.preference_state.get(active[0]).to(A.device, A.dtype)
        is_coarse = at_least_fp32(A) is not A  # The product would be rounded once more.
        if p.ndim != 1 or self.preference_state.unguided_rows or is_coarse:
            return None
        return A.detach().T, (B.detach() @ self.core(active[0], p)).T

    def _guide_last_rows(
        self, x: Float[Tensor, "*batch in"], result: Float[Tensor, "*batch out"], unguided: int
    ) -> Float[Tensor, "*batch out"]:
        """Half of the rows are the base's; the adapters act on the other half, in place."""
        if x.ndim != 3 or len(x) != 2 * unguided:
            raise ProsocialError(
                f"of {2 * unguided} rows the first {unguided} are the base's, but a PBLoRA layer got an input of shape "
                f"{tuple(x.shape)}; layers that see tokens without their rows (the experts of a mixture) cannot be "
                "guided in one forward pass. Guide by ProSocialProcessor"
            )
        for adapter in self.active_adapters:
            if adapter in self.pblora_A:
                result[unguided:] += self._update(x[unguided:], adapter)
        return result

    def _update(self, x: Float[Tensor, "*batch in"], adapter: str) -> Float[Tensor, "*batch out"]:
        A, B = self.pblora_A[adapter], self.pblora_B[adapter]
        p = self.preference_state.get(adapter).to(A.device, A.dtype)
        x = self.pblora_dropout[adapter](self._cast_input_dtype(x, A.dtype))
        if adapter in self.objective_copies:
            self._check_rows(x, p)
            return self.objective_copies[adapter].update(x, p, self.pblora_config[adapter].scaling)
        z = nn.functional.linear(x, A)
        if p.ndim == 1:
            return nn.functional.linear(nn.functional.linear(z, self.core(adapter, p)), B)
        return nn.functional.linear(self._core_per_row(z, adapter, p), B)

    def core(self, adapter: str, p: Float[Tensor, " k"]) -> Float[Tensor, "r r"]:
        """s · blockdiag(W1, W2(p)): all that depends on the preference, (r1+r2, r1+r2)."""
        config = self.pblora_config[adapter]
        W1 = self.pblora_W1[adapter]
        W2 = (p @ self.pblora_W2[adapter]).view(config.r2, config.r2)
        return torch.block_diag(W1, W2) * config.scaling

    def _core_per_row(
        self, z: Float[Tensor, "*batch r"], adapter: str, p: Float[Tensor, "rows k"]
    ) -> Float[Tensor, "*batch r"]:
        self._check_rows(z, p)
        rows = len(p)
        config = self.pblora_config[adapter]
        z1, z2 = z.split((config.r1, config.r2), dim=-1)
        W2 = (p @ self.pblora_W2[adapter]).view(rows, config.r2, config.r2)
        mixed = torch.cat(
            [nn.functional.linear(z1, self.pblora_W1[adapter]), torch.bmm(z2, W2.transpose(1, 2))], dim=-1
        )
        return mixed * config.scaling

    def _check_rows(self, x: Float[Tensor, "*batch features"], p: Float[Tensor, "rows k"]) -> None:
        if x.ndim != 3 or len(x) != len(p):
            raise ProsocialError(
                f"{len(p)} rows have a preference each, but a PBLoRA layer got an input of shape "
                f"{(*x.shape[:-1], self.in_features)}; expected ({len(p)}, tokens, {self.in_features}). Set as many "
                "preferences as the batch has rows, or one for all; layers that see tokens without their rows (the "
                "experts of a mixture) can only take one for all"
            )

    def get_delta_weight(self, adapter: str, p: Float[Tensor, " k"] | None = None) -> Float[Tensor, "..."]:
        """ΔW(p) in the layout and dtype of the base weight; p is the preference in force unless given.

        Raises:
            RuntimeError: no preference is given or in force.
            ValueError: the preference in force is one a row, which no single ΔW expresses.
        """
        p = self.preference_state.get(adapter) if p is None else p
        if p.ndim != 1:
            raise ProsocialError(f"{len(p)} rows have a preference each; one ΔW needs one preference, of shape (k,)")
        A = at_least_fp32(self.pblora_A[adapter])
        B = at_least_fp32(self.pblora_B[adapter])
        core = at_least_fp32(self.core(adapter, p.to(A.device, self.pblora_W2[adapter].dtype)))
        delta = B @ core @ A
        return (delta.T if self.pblora_config[adapter].fan_in_fan_out else delta).to(self.get_base_weight().dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add ΔW(p) of the preference in force to the base weight.

        Raises:
            RuntimeError: no preference is in force.
            ValueError: with `safe_merge`, a merged weight that is not finite; the base is then left as it was.
        """
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter not in self.pblora_A:
                continue
            p = self.preference_state.get(adapter)
            weight = self.get_base_weight()
            merged = weight + self.get_delta_weight(adapter, p).to(weight.device)
            if safe_merge and not torch.isfinite(merged).all():
                raise ProsocialError(
                    f"merging adapter {adapter!r} gives weights that are not finite; the adapter is broken"
                )
            self.set_base_weight(merged)
            self.merged_adapters.append(adapter)
            self._merged_weights[adapter] = p
            self.preference_state.merged_adapters.add(adapter)

    def unmerge(self) -> None:
        """Take the merged ΔW out of the base weight again (exact up to the rounding of its dtype)."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            adapter = self.merged_adapters.pop()
            weight = self.get_base_weight()
            self.set_base_weight(
                weight - self.get_delta_weight(adapter, self._merged_weights.pop(adapter)).to(weight.device)
            )
            self.preference_state.merged_adapters.discard(adapter)

    def enable_adapters(self, enabled: bool) -> None:
        """Switch the adapters on or off. What is frozen stays so: PEFT's own would make a guide trainable again."""
        self._disable_adapters = not enabled

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """True: with one preference in force, the update is an ordinary ΔW."""
        return True

    def __repr__(self) -> str:
        return "pblora." + super().__repr__()


def _added(
    result: Float[Tensor, "*batch out"],
    x: Float[Tensor, "*batch in"],
    A_T: Float[Tensor, "in r"],
    B_core_T: Float[Tensor, "r out"],
) -> Float[Tensor, "*batch out"]:
    """The base layer's output, which is nobody else's, plus the update."""
    z = x.to(A_T.dtype) @ A_T
    if z.dtype == result.dtype:
        result.flatten(0, -2).addmm_(z.flatten(0, -2), B_core_T)
        return result
    return (result + z @ B_core_T).to(result.dtype)


def features(base_layer: nn.Module) -> tuple[int, int]:
    """(in, out) of a layer that PBLoRA can wrap: exactly `nn.Linear` or `Conv1D`, in floating point.

    Raises:
        ValueError: any other layer, quantised ones included.
    """
    if type(base_layer) is nn.Linear and _is_plain(base_layer.weight):
        return base_layer.in_features, base_layer.out_features
    if type(base_layer) is Conv1D and _is_plain(base_layer.weight):
        return base_layer.nx, base_layer.nf
    raise ProsocialError(
        f"PBLoRA adapts torch.nn.Linear and transformers' Conv1D in floating point, found {type(base_layer).__name__} "
        "(a quantised layer, or another kind). Choose other target_modules, or load the model without quantisation"
    )


def _is_plain(weight: Shaped[Tensor, "..."]) -> bool:
    return type(weight) in (Tensor, nn.Parameter) and weight.is_floating_point()
