"""A model's checkpoint directory as it stands on disk: safetensors, one file or sharded with an index."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_prosocial.errors import ProsocialError

from .shard import TensorEntry, read_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CHUNK = 2**22
"""Entries that are worked on at a time: 16 MiB in fp32."""

_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.pkl", "*.tflite")


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's tensors lie.

    Attributes:
        folder: the directory.
        tensors: every tensor by its name on disk, shard after shard, in the order of the bytes.
    """

    folder: Path
    tensors: dict[str, TensorEntry]

    @property
    def files(self) -> list[Path]:
        """The safetensors files, in order."""
        return list(dict.fromkeys(entry.file for entry in self.tensors.values()))

    def weight_hash(self) -> str:
        """SHA-256 over names, shapes and bytes: `identity.weight_hash` of the model loaded in its own dtype.

        The two agree where transformers keeps the names that stand on disk.
        """
        digest = hashlib.sha256()
        for name, entry in sorted(self.tensors.items()):
            digest.update(f"{name} {entry.shape}\n".encode())
            for piece in entry.byte_pieces():
                digest.update(piece)
        return digest.hexdigest()


def open_checkpoint(path_or_id: str | Path) -> Checkpoint:
    """Open a base as `find_base` takes it: a directory, a GGUF file (dequantised once) or a Hub id.

    Headers are read and checked, weights are not.

    Raises:
        FileNotFoundError: no such directory, or a file that the index names is not there.
        ValueError: no safetensors weights, a file that is not whole, or an index that does not fit its files.
    """
    folder = Path(path_or_id)
    if not folder.is_dir():
        # It loads torch and transformers, which takes longer than editing a directory does.
        from hf_prosocial.models import find_base

        folder = find_base(path_or_id).checkpoint()
    if (folder / SINGLE).is_file():
        return Checkpoint(folder, read_header(folder / SINGLE)[0])
    if (folder / INDEX).is_file():
        return Checkpoint(folder, _sharded(folder))
    raise ProsocialError(_no_weights(folder))


def chunks(entry: TensorEntry) -> Iterator[tuple[int, int]]:
    """[start, stop) of the flattened tensor: whole rows, as many as fit into `CHUNK` entries, in order."""
    row = entry.size // entry.shape[0] if len(entry.shape) > 1 and entry.shape[0] else 1
    step = max(1, CHUNK // max(row, 1)) * max(row, 1)
    for start in range(0, entry.size, step):
        yield start, min(start + step, entry.size)


def is_weights(file: Path) -> bool:
    """Whether a file holds weights in any format."""
    return file.suffix == ".safetensors" or any(file.match(pattern) for pattern in _OTHER_WEIGHTS)


def _sharded(folder: Path) -> dict[str, TensorEntry]:
    index = folder / INDEX
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProsocialError(f"{index} is not an index with a weight_map: {error!r}") from error
    tensors: dict[str, TensorEntry] = {}
    for name in names:
        # A name with a folder in it could lead out of the directory.
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise ProsocialError(f"{index} names {name!r}; a shard must be a file of the same directory")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{index} names {name}, which is not in {folder}")
        found = read_header(folder / name)[0]
        promised = {tensor for tensor, file in weight_map.items() if file == name}
        if promised != set(found):
            raise ProsocialError(
                f"{index} does not fit {name}: missing there {some_of(promised - set(found))}, not in the index "
                f"{some_of(set(found) - promised)}"
            )
        tensors |= found
    return tensors


def some_of(names: set[str]) -> str:
    """The first of some names, and how many there are."""
    shown = ", ".join(sorted(names)[:5]) or "nothing"
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 5 else shown


def _no_weights(folder: Path) -> str:
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern))
    if pickles:
        return (
            f"{folder} holds pickled weights ({', '.join(pickles[:3])}), which can run code when they are read. "
            "Convert them where you trust them: "
            f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(NEW)"
        )
    if any(folder.glob("*.gguf")):
        return (
            f"{folder} holds GGUF weights; convert them: AutoModelForCausalLM.from_pretrained({str(folder)!r}, "
            "gguf_file=..., quantization_config=GgufConfig(dequantize=True)).save_pretrained(NEW)"
        )
    return f"{folder} holds neither {SINGLE} nor {INDEX}; a checkpoint directory was expected"
