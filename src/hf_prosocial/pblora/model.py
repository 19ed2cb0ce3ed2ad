"""The PBLoRA tuner: what `get_peft_model` and `PeftModel.from_pretrained` build around a model."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from jaxtyping import Float
from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import Written
from hf_prosocial.preference import Preference, Preferences, weights_of

from .bake import baked_lora, write_baked
from .config import PBLoraConfig
from .layer import PBLoraLayer
from .preference_state import PreferenceState


class PBLoraModel(BaseTuner):
    """A model with preference-conditioned bilinear adapters  [PARM, arXiv 2505.06274].

    Use it as any PEFT model, and tell it the preference before a forward pass:

        model = get_peft_model(base, PBLoraConfig(target_modules=["q_proj", "k_proj", "v_proj"]))
        model.set_preference(Preference(empathy=0.5, helpfulness=0.5))
        model(**inputs)
    """

    prefix: str = "pblora_"
    tuner_layer_cls = PBLoraLayer
    target_module_mapping: Any = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    loaded: Written | None = None

    def note_base(self) -> None:
        """Remember that the base is now as the adapter was trained on it; `load_arm` calls this when it has checked."""
        self.loaded = Written.now(self)

    def refuse_edited_base(self) -> None:
        """Refuse to guide where the base was edited in place since: an ARM that shares its memory is edited with it.

        Raises:
            ValueError: a weight was written to.
        """
        if self.loaded is None:
            return
        changed = Written.now(self).since(self.loaded)
        if changed:
            raise ProsocialError(
                f"the base's weights were written to after the ARM was loaded on them ({', '.join(changed[:3])}"
                f"{', ...' if len(changed) > 3 else ''}), and the ARM, which shares their "
                "memory, is no longer what was trained. Load the ARM on a base of its own, load_arm(id), and guide the "
                "edited one by ProSocialProcessor"
            )

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        # A model that already has PBLoRA layers (transformers' load_adapter, twice) keeps the state they read.
        existing = next((module for module in model.modules() if isinstance(module, PBLoraLayer)), None)
        self.preference_state = existing.preference_state if existing else PreferenceState()

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        base_layer = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        peft_config.fan_in_fan_out = isinstance(base_layer, Conv1D)
        if isinstance(target, PBLoraLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = PBLoraLayer(target, adapter_name, peft_config, self.preference_state)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def set_preference(self, preference: Preferences, adapter_name: str | None = None) -> None:
        """Put a preference in force for the next forward passes, in O(1).

        Args:
            preference: one for all rows, or as many as the batch has rows.
            adapter_name: the adapter it is for; the active one by default.

        Raises:
            ValueError: an objective that the adapter does not have, or weights of a wrong shape or off the simplex.
            RuntimeError: the adapter is merged.
        """
        adapter = self.one_adapter(adapter_name)
        self.preference_state.set(adapter, self.preference_weights(preference, adapter))

    def preference_weights(self, preference: Preferences, adapter_name: str | None = None) -> Float[Tensor, "*rows k"]:
        """The weights p of a preference in the order of the adapter's objectives, fp32, on the model's device.

        Raises:
            ValueError: as `set_preference`.
        """
        return weights_of(preference, self.adapter_config(adapter_name).names).to(next(self.model.parameters()).device)

    def add_weighted_adapter(self, *_: object, **__: object) -> NoReturn:
        """Refused: a weighted sum of bilinear adapters is none.

        Raises:
            ValueError: always.
        """
        raise ProsocialError(
            "PBLoRA adapters cannot be added with weights: what mixes the objectives of one is its preference, "
            "set_preference(Preference(...)); to mix ordinary LoRAs, bake them first, save_baked(directory, preference)"
        )

    @contextmanager
    def _enable_peft_forward_hooks(self, *_: object, **options: object) -> Generator[None]:
        """Called by PEFT around every forward pass and generation, with arguments that the model does not get."""
        if options.get("adapter_names") is not None:
            raise ProsocialError(
                "adapter_names chooses an adapter for each row, and a PBLoRA layer has one for all; give each row a "
                "preference of its own, set_preference([...]), or run the adapters one after the other"
            )
        yield

    def bake(
        self, preference: Preference, adapter_name: str | None = None
    ) -> tuple[LoraConfig, dict[str, Float[Tensor, "rows columns"]]]:
        """The ordinary LoRA of rank r1 + r2 that the adapter is under one preference; exact in fp32.

        B' = B · blockdiag(W1, W2(p)), A' = A, lora_alpha' = s · (r1 + r2)  [METHOD, section 2].

        Returns:
            PEFT's configuration and state, in fp32, as PEFT saves them.
        """
        adapter = self.one_adapter(adapter_name)
        p = self.preference_weights(preference, adapter)
        return baked_lora(self.model, self.adapter_config(adapter), adapter, p)

    def save_baked(self, save_directory: str | Path, preference: Preference, adapter_name: str | None = None) -> None:
        """Write `bake(preference)` as a PEFT adapter directory, which loads without this package.

        Raises:
            FileExistsError: the directory exists already.
        """
        config, state = self.bake(preference, adapter_name)
        write_baked(Path(save_directory), config, state)

    def merge_adapter(
        self,
        adapter_names: list[str] | None = None,
        safe_merge: bool = False,
        *,
        preference: Preference | None = None,
    ) -> None:
        """Merge under `preference`; see `merge_and_unload`."""
        self._set_merge_preference(adapter_names, preference)
        super().merge_adapter(adapter_names, safe_merge)

    def merge_and_unload(
        self,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
        *,
        preference: Preference | None = None,
    ) -> torch.nn.Module:
        """The base model with ΔW(preference) added to its weights, and without adapters.

        Args:
            progressbar: PEFT's own.
            safe_merge: PEFT's own.
            adapter_names: PEFT's own.
            preference: the preference to fix for good.

        Raises:
            ValueError: no preference: a merge would silently drop or freeze the conditioning; or a weight that another
                module shares, such as a tied output layer's.
        """
        self._set_merge_preference(adapter_names, preference)
        return super().merge_and_unload(progressbar, safe_merge, adapter_names)

    def _set_merge_preference(self, adapter_names: list[str] | None, preference: Preference | None) -> None:
        if not isinstance(preference, Preference):
            raise ProsocialError(
                "merging fixes one preference for good: pass merge_and_unload(preference=Preference(...)); "
                f"found {preference!r}"
            )
        adapters = adapter_names or self.active_adapters
        self._refuse_shared(adapters)
        for adapter in adapters:
            self.set_preference(preference, adapter)

    def _refuse_shared(self, adapters: list[str]) -> None:
        """Refuse to merge into a weight that other modules use too, as a tied output layer's is the embedding's."""
        users: dict[int, list[str]] = {}
        for name, module in self.model.named_modules():
            for weight in module._parameters.values():
                if weight is not None:
                    users.setdefault(weight.data_ptr(), []).append(name.removesuffix(".base_layer"))
        for name, layer in self.model.named_modules():
            if isinstance(layer, PBLoraLayer) and any(adapter in layer.pblora_A for adapter in adapters):
                others = sorted({user for user in users[layer.get_base_weight().data_ptr()] if user != name})
                if others:
                    raise ProsocialError(
                        f"the weight of {name} is that of {', '.join(others)} too (tied), so that a merge would change "
                        "both; leave it unmerged, or save_baked(directory, preference)"
                    )

    @property
    def wrapped(self) -> PreTrainedModel:
        """The model with the PBLoRA layers in it."""
        return cast(PreTrainedModel, self.model)

    @property
    def disabled(self) -> bool:
        """Whether the adapters are switched off, as inside `disable_adapter()`, or gone, as after `unload()`."""
        layer = next((module for module in self.model.modules() if isinstance(module, PBLoraLayer)), None)
        return layer is None or layer.disable_adapters

    def adapter_config(self, adapter_name: str | None = None) -> PBLoraConfig:
        """The configuration of an adapter, the active one by default."""
        return cast(PBLoraConfig, self.peft_config[self.one_adapter(adapter_name)])

    def one_adapter(self, adapter_name: str | None = None) -> str:
        """The name of an adapter, or of the one that is active.

        Raises:
            ValueError: several are active and none is named, or it is not a PBLoRA adapter.
        """
        if adapter_name is None:
            if len(self.active_adapters) != 1:
                raise ProsocialError(f"name the adapter: the active ones are {list(self.active_adapters)}")
            adapter_name = self.active_adapters[0]
        if not isinstance(self.peft_config.get(adapter_name), PBLoraConfig):
            raise ProsocialError(f"no PBLoRA adapter {adapter_name!r}; the adapters are {list(self.peft_config)}")
        return adapter_name


def tuner_of(model: nn.Module) -> PBLoraModel:
    """The tuner in a PeftModel with one active PBLoRA adapter.

    Raises:
        ValueError: another kind of model.
    """
    tuner = model.base_model if isinstance(model, PeftModel) else model
    if not isinstance(tuner, PBLoraModel):
        raise ProsocialError(
            f"expected a PeftModel with a PBLoRA adapter (by load_arm, or by get_peft_model with a PBLoraConfig), "
            f"found {type(model).__name__} around {type(tuner).__name__}"
        )
    tuner.one_adapter()
    return tuner


def set_preference(model: nn.Module, preference: Preferences, adapter_name: str) -> None:
    """Set a preference on a model whose PBLoRA adapter came by transformers' own `load_adapter`.

    Raises:
        ValueError: the model has no PBLoRA layers, or as `PBLoraModel.set_preference`.
    """
    layer = next((module for module in model.modules() if isinstance(module, PBLoraLayer)), None)
    if layer is None or adapter_name not in layer.pblora_config:
        raise ProsocialError(f"{type(model).__name__} has no PBLoRA adapter {adapter_name!r}")
    layer.preference_state.set(adapter_name, weights_of(preference, layer.pblora_config[adapter_name].names))
