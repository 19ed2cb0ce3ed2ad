"""What a text needs of a model: the gradient of the text's loss, in a file for `HarmVector.extract(protect=...)`."""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_prosocial.data import text_windows
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import file_beside, progress_bar, read_text, sha256
from hf_prosocial.models import preferred_device
from hf_prosocial.precision import at_least_fp32
from hf_prosocial.records import RECORDED_PACKAGES, GradientRecord

from .checkpoint import open_checkpoint
from .protection import GRADIENT_FORMAT


def write_text_gradient(
    base: str | Path, text: str | Path, out: str | Path, *, window: int = 512, tokens: int | None = None
) -> GradientRecord:
    """Write ∂ℓ/∂θ, fp32, ℓ the mean loss of a running text, under the names of the model's parameters.

    Args:
        base: θ, a checkpoint directory or a Hub id. It is loaded in fp32, and the gradient takes as much memory again.
        text: a file of running text that stands for what an edit should keep.
        out: the safetensors file to write.
        window: tokens that are seen together.
        tokens: read no more than the first so many; by default all.

    Raises:
        FileExistsError: something stands at `out`.
        ValueError: fewer than two tokens, or a gradient that is not finite.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another place for the gradient")
    checkpoint = open_checkpoint(base)
    model = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float32).eval().to(preferred_device())
    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint.folder)
    windows = text_windows(tokenizer, read_text(text), window, tokens)
    loss, gradient = _gradient(model, windows)
    record = GradientRecord(
        base=str(base),
        base_hash=checkpoint.weight_hash(),
        text=str(text),
        text_hash=sha256(text),
        tokens=sum(len(piece) - 1 for piece in windows),
        loss=loss,
        versions={name: version(name) for name in (*RECORDED_PACKAGES, "transformers")},
    )
    with file_beside(out) as work:
        save_file(gradient, work, metadata={"format": GRADIENT_FORMAT, "record": json.dumps(asdict(record))})
    return record


def _gradient(model: Any, windows: list[Tensor]) -> tuple[float, dict[str, Float[Tensor, "..."]]]:
    total, count = 0.0, sum(len(piece) - 1 for piece in windows)
    progress = progress_bar(len(windows), "gradient", "window")
    for piece in windows:
        piece = piece.to(model.device)
        logits = model(piece[None], use_cache=False).logits[0, :-1]
        loss = nn.functional.cross_entropy(at_least_fp32(logits), piece[1:], reduction="sum") / count
        loss.backward()
        total += loss.item()
        progress.update()
    progress.close()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    for name, gradient in found.items():
        if not torch.isfinite(gradient).all():
            raise ProsocialError(f"the text's gradient is not finite in {name}")
    return total, found
