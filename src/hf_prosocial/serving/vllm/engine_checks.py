"""What an engine may not be asked for where a base is guided in it."""

from pathlib import Path

from vllm.config import VllmConfig
from vllm.model_executor.layers.attention import Attention

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import sha256

from .options import Options

# Drafts of these are tokens alone; others' models read hidden states, which hold two models' here.
_DRAFTING = ("draft_model", "ngram", "ngram_gpu", "suffix")


def check_engine(vllm_config: VllmConfig) -> None:
    """Refuse what would guide wrongly, or was not tried.

    Raises:
        ProsocialError: which of the engine's settings, and what to do.
    """
    parallel, drafting = vllm_config.parallel_config, vllm_config.speculative_config
    graphs = vllm_config.compilation_config.cudagraph_mode
    is_first_runner = not vllm_config.use_v2_model_runner
    refused = {
        "LoRA adapters beside the ARM (leave --enable-lora out)": vllm_config.lora_config is not None,
        f"drafting by other than {', '.join(_DRAFTING)}": drafting is not None and drafting.method not in _DRAFTING,
        "two batches at once (leave --enable-dbo out)": parallel.use_ubatching,
        "contexts split over devices": max(
            parallel.decode_context_parallel_size, parallel.prefill_context_parallel_size
        )
        > 1,
        "whole CUDA graphs in vLLM's first model runner (give --compilation-config "
        '\'{"cudagraph_mode": "PIECEWISE"}\')': is_first_runner and graphs is not None and graphs.has_full_cudagraphs(),
    }
    found = [name for name, asked in refused.items() if asked]
    if found:
        raise ProsocialError(f"a guided model in vLLM cannot have {', '.join(found)}")


def check_arm(options: Options) -> None:
    """Refuse an ARM that is not the one that was compared with its base.

    Raises:
        ProsocialError: its weights are others now.
    """
    found = sha256(Path(options.arm) / "adapter_model.safetensors")
    if found != options.arm_sha256:
        raise ProsocialError(
            f"the ARM in {options.arm} has changed since it was compared with its base "
            f"({options.arm_sha256[:12]} then, {found[:12]} now); start `prosocial serve` again"
        )


def check_layers(vllm_config: VllmConfig, architecture: str) -> None:
    """Refuse models that mix tokens by other layers than plain attention.

    Raises:
        ProsocialError: which layers.
    """
    layers = vllm_config.compilation_config.static_forward_context.values()
    others = {type(layer).__name__ for layer in layers if type(layer) is not Attention}
    if others:
        raise ProsocialError(f"{architecture} mixes tokens by {', '.join(sorted(others))}, not Attention")
