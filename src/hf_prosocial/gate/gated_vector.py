"""GatedHarmVector: what is subtracted while the model runs, and the gate that says for which prompts."""

import hashlib
import json
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.arm import check_base
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import check_hub_id, file_beside
from hf_prosocial.records import GATED_NAME, GatedVectorRecord

from .low_rank import Factors
from .probe import Probe
from .turns import Turns

_A, _B, _WEIGHT, _BIAS = ".lora_A", ".lora_B", "gate.weight", "gate.bias"
_RECORD, _CHECKSUM = "record", "sha256"


@dataclass(frozen=True)
class GatedHarmVector:
    """A harm vector as LoRA factors, subtracted at run time from the rows whose prompts a gate takes for harmful.

    θ_s(x) = θ − λ(x) · B A, with λ(x) = λ · g(x): g is 0 where the gate is closed, and there the base's distribution is
    untouched. The base's weights never change.

        vector = GatedHarmVector.from_pretrained("path-or-hub-id")
        model = GatedModel(base, vector)                                  # safe, unguided
        guided = GuidedModel(base, arm, preference, harm_vector=vector)   # and guided, in one forward pass

    Attributes:
        factors: B A of each linear layer, by its name.
        probe: the gate.
        turns: finds what users say, each message of which the gate reads by itself.
        record: how it was made, and for which base.
        source: where it was found.

    Source: METHOD, "Beyond the paper".
    """

    factors: Mapping[str, Factors]
    probe: Probe
    turns: Turns
    record: GatedVectorRecord
    source: str = "a gated harm vector"

    @property
    def scale(self) -> float:
        """λ where the gate is open."""
        return self.record.scale

    def with_scale(self, scale: float) -> "GatedHarmVector":
        """The same with another λ.

        Raises:
            ValueError: λ is negative, or not finite.
        """
        if not math.isfinite(scale) or scale < 0:
            raise ProsocialError(f"λ must be a finite number of at least 0, found {scale}")
        return replace(self, record=replace(self.record, scale=float(scale)))

    def scales(
        self, base: Any, input_ids: Int[Tensor, "rows length"], attention_mask: Int[Tensor, "rows length"]
    ) -> Float[Tensor, " rows"]:
        """λ(x) of each prompt, fp32: one forward pass of the base over what users say in it.

        Each message is read by itself, as if it opened the conversation, and the one that looks most harmful decides.
        A prompt without any (no chat template) is read whole.

        Args:
            base: the unedited model, in evaluation mode.
            input_ids: whole prompts through the chat template, padded on either side.
            attention_mask: 1 for tokens and 0 for padding.

        Raises:
            ValueError: no rows, a mask of another shape, a base in training mode; or as `prompt_states`.
        """
        if not len(input_ids) or attention_mask.shape != input_ids.shape:
            raise ProsocialError(
                f"the gate reads rows of token ids with a mask of the same shape, found {tuple(input_ids.shape)} and "
                f"{tuple(attention_mask.shape)}"
            )
        if base.training:
            raise ProsocialError("the base is in training mode, and its dropout would open the gate by chance; eval()")
        kept = attention_mask.to(input_ids.device).bool()
        said = [self.turns.of_user(row[mask].tolist()) for row, mask in zip(input_ids, kept, strict=True)]
        rows = [message for messages in said for message in messages]
        ids, mask, counted = _padded(rows, [self.turns.said_from(row) for row in rows], input_ids.device)
        odds = self.probe.log_odds(base, ids, mask, counted)
        if not torch.isfinite(odds).all():
            raise ProsocialError("the gate reads hidden states that are not finite; the base is broken in this dtype")
        most = torch.stack([one.max() for one in odds.split([len(messages) for messages in said])])
        return self.probe.openness(most) * self.scale

    def guidance_share(self, scales: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """1 − g(x), the share of β that guidance keeps where λ(x) is subtracted: harm first, then the preference.

        Args:
            scales: λ(x) of each prompt; λ itself and all beyond it leaves nothing. A vector of λ = 0 subtracts nothing,
                and leaves all.
        """
        return guidance_share(scales, self.scale)

    def content_hash(self) -> str:
        """SHA-256 over the factors, the gate and what finds a user's messages; λ and the figures are left out."""
        probe, turns = self.probe, self.turns
        read = probe.layers, probe.mean_layers
        digest = hashlib.sha256(repr((read, probe.bias, probe.threshold, probe.full, turns)).encode())
        digest.update(self.probe.weight.tobytes())
        for name, factor in sorted(self.factors.items()):
            digest.update(name.encode())
            for values in (factor.A, factor.B):
                digest.update(values.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def check(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        allow_mismatch: Collection[str] = (),
    ) -> None:
        """Compare a base with the one that the vector was made on.

        Args:
            base: what the vector is to be subtracted from.
            tokenizer: the base's; without one, it and its template are not compared.
            allow_mismatch: any of "base_weights", "tokenizer", "chat_template": differences to accept.

        Raises:
            BaseMismatchError: other weights, another tokenizer or chat template.
            ValueError: a vector that does not say which base it belongs to.
        """
        if self.record.base_weight_hashes is None and "base_weights" not in allow_mismatch:
            raise ProsocialError(
                f"{self.source} does not say which base it belongs to; record_base(vector.record, base, tokenizer) "
                "writes it, allow_mismatch=['base_weights'] does without"
            )
        check_base(self.source, self.record, base, tokenizer, allow_mismatch)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `gated_harm_vector.safetensors` into a directory: factors in fp16, the gate in fp32, the record."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {_WEIGHT: torch.from_numpy(self.probe.weight), _BIAS: torch.tensor([self.probe.bias])}
        for name, factor in self.factors.items():
            tensors |= {name + _A: factor.A.half().contiguous(), name + _B: factor.B.half().contiguous()}
        unfit = [name for name, values in tensors.items() if not torch.isfinite(values).all()]
        if unfit:
            raise ProsocialError(f"{len(unfit)} tensors are not finite in fp16, the first is {unfit[0]}")
        record = json.dumps(self.record.to_dict())
        with file_beside(directory / GATED_NAME) as work:
            save_file(tensors, work, {_RECORD: record, _CHECKSUM: _checksum(record, tensors)})
            _order_metadata(work)

    @staticmethod
    def is_at(path_or_id: str | Path) -> bool:
        """Whether a directory, or a repository of the Hub, holds a gated vector."""
        path = Path(path_or_id)
        if path.exists() or path.suffix == ".safetensors":
            return (path / GATED_NAME).is_file()
        check_hub_id(str(path_or_id))
        from huggingface_hub import file_exists

        return file_exists(str(path_or_id), GATED_NAME)

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path, *, revision: str | None = None, token: str | bool | None = None
    ) -> "GatedHarmVector":
        """Open a gated vector: a directory with `gated_harm_vector.safetensors`, or a Hub id.

        Raises:
            FileNotFoundError: nothing there.
            ValueError: a file that is not whole, or not a gated vector's.
        """
        file = _found(path_or_id, revision, token)
        try:
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ProsocialError(f"{file} is not a whole safetensors file ({error}); get it again") from error
        if _RECORD not in metadata:
            raise ProsocialError(f"{file} holds no record of a gated harm vector; `prosocial direg gate` writes them")
        if metadata.get(_CHECKSUM) != _checksum(metadata[_RECORD], tensors):
            raise ProsocialError(f"{file} does not hold what it was written with; it is damaged, get it again")
        return _parsed(file, str(path_or_id), json.loads(metadata[_RECORD]), tensors)


def _order_metadata(file: Path) -> None:
    """Put a header's metadata in order, in place: safetensors writes them in an order that differs from run to run."""
    with file.open("r+b") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length  # The same content in another order.
        opened.seek(8)
        opened.write(text.ljust(length))


def _checksum(record: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the record and all tensors: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256(record.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _parsed(file: Path, source: str, content: Any, tensors: dict[str, Tensor]) -> GatedHarmVector:
    """What a file's parts make.

    Raises:
        ProsocialError: parts that do not fit each other.
    """
    record = GatedVectorRecord.parse(content, file)
    try:
        turns = Turns(**record.turns)
    except TypeError as error:
        raise ProsocialError(f"{file} does not say what stands around a user's messages ({error})") from error
    weight, bias = tensors.pop(_WEIGHT, None), tensors.pop(_BIAS, None)
    names = {name.removesuffix(_A) for name in tensors if name.endswith(_A)}
    odd = tensors.keys() ^ {name + kind for name in names for kind in (_A, _B)}
    if weight is None or bias is None or weight.ndim != 1 or bias.numel() != 1 or odd or not names:
        raise ProsocialError(f"{file} lacks the gate or one of a layer's two factors ({sorted(odd)[:3]}); get it again")
    factors = {name: Factors(tensors[name + _A].float(), tensors[name + _B].float()) for name in sorted(names)}
    unfit = [name for name, one in factors.items() if not _fit(one)]
    numbers = [record.scale, record.threshold, record.full, float(bias), *weight.tolist()]
    if unfit or not all(map(math.isfinite, numbers)) or record.scale < 0:
        raise ProsocialError(f"{file} holds factors that do not fit each other, or numbers that cannot be")
    read = record.layers, weight.float().numpy(), float(bias)
    probe = Probe(*read, record.threshold, record.full, record.mean_layers)
    return GatedHarmVector(factors, probe, turns, record, source)


def _fit(factor: Factors) -> bool:
    A, B = factor.A, factor.B
    shapes = A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1] > 0
    return shapes and bool(torch.isfinite(A).all() and torch.isfinite(B).all())


def guidance_share(scales: Float[Tensor, " rows"], full: float) -> Float[Tensor, " rows"]:
    """1 − λ(x) / λ, at least 0, in fp32: `GatedHarmVector.guidance_share`, where only λ of the vector is at hand."""
    # None at λ itself, whatever the division's last bit says: only then the ARM has no say at all.
    left = 1 - scales.double() / full if full > 0 else torch.ones_like(scales, dtype=torch.float64)
    is_open = (scales >= torch.tensor(full, dtype=scales.dtype)) & (scales > 0)
    return left.masked_fill(is_open, 0.0).float()


def _padded(rows: Sequence[list[int]], said_from: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, their mask, and the mask of what is said; padded on the left."""
    length = max(map(len, rows))
    ids, mask, said = torch.zeros(3, len(rows), length, dtype=torch.int64)
    for at, (row, start) in enumerate(zip(rows, said_from, strict=True)):
        begins = length - len(row)
        ids[at, begins:], mask[at, begins:], said[at, begins + start :] = torch.tensor(row), 1, 1
    return ids.to(device), mask.to(device), said.to(device)


def _found(path_or_id: str | Path, revision: str | None, token: str | bool | None) -> Path:
    path = Path(path_or_id)
    if path.is_dir():
        if not (path / GATED_NAME).is_file():
            raise FileNotFoundError(f"{path} holds no {GATED_NAME}; `prosocial direg gate` writes it")
        return path / GATED_NAME
    if path.suffix == ".safetensors":
        raise FileNotFoundError(f"no gated vector {path}: give its directory, or a Hub id")
    check_hub_id(str(path_or_id))
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(str(path_or_id), GATED_NAME, revision=revision, token=token))
