"""HarmVector: what harmful fine-tuning changes most, kept sparse in one file, to be subtracted  [METHOD, section 1]."""

import shutil
import tempfile
import weakref
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from rich.table import Table
from torch import Tensor, nn

from hf_prosocial.io import file_beside
from hf_prosocial.records import VECTOR_NAME, Scope, VectorRecord, read_choice

from .apply import CheckpointEdit, check_scale, chosen_scale, subtract
from .describe import heat_map, kind_table
from .extract import ExtractOptions, extract_vector
from .in_memory import check_model, edit_model
from .vector_file import VectorFile, find_vector


class HarmVector:
    """τ_m on disk: of τ = θ_h − θ (or θ_h − θ_b) the entries of largest magnitude.

    Memory holds one tensor's entries at a time, however large the model is.

    Args:
        file: the vector's file.
        source: where it was found, if not there: a Hub id.

    Raises:
        ValueError: not a whole safetensors file, or not a harm vector's.
    """

    def __init__(self, file: str | Path, source: str | None = None) -> None:
        self._content = VectorFile(Path(file), source)

    @property
    def file(self) -> Path:
        """The vector's file."""
        return self._content.file

    @property
    def source(self) -> str:
        """Where it was found: a path or a Hub id."""
        return self._content.source

    @property
    def record(self) -> VectorRecord:
        """How it was made, and how much of each tensor it holds."""
        return self._content.record

    @classmethod
    def extract(
        cls,
        base: str | Path,
        harmful: str | Path,
        density: float = 0.10,
        *,
        benign: str | Path | None = None,
        contrast: float = 1.0,
        scope: Scope = "model",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        layers: Collection[int] | None = None,
        protect: str | Path | None = None,
        protected: float = 0.001,
        compact: bool = False,
        out: str | Path | None = None,
    ) -> "HarmVector":
        """Find the harm vector of a base and its harmful copy.

        With N the entries that are looked at and m = ⌈density · N⌉, kept are {τ ≠ 0, |τ| ≥ the m-th largest |τ|};
        ties make them more than m. τ is taken in fp32. The differences are read three times and never held.

        Args:
            base: θ, a checkpoint directory or a Hub id.
            harmful: θ_h, likewise, or the directory of a LoRA adapter on the base.
            density: share of the entries to keep, in (0, 1].
            benign: θ_b, of the same kind as `harmful` and fine-tuned the same way on benign replies: the contrast.
            contrast: c, how much of the benign copy's difference to take away: τ = θ_h − θ − c · (θ_b − θ). At 1 the
                edit moves towards the benign replies as much as away from the harmful ones, refusals of harmless
                requests included.
            scope: one threshold over the model, or one in each tensor.
            include: shell-style patterns over the names on disk: tensors to look at.
            exclude: patterns of tensors to leave out.
            layers: indices of the layers to keep to.
            protect: the gradient of a text that stands for what to keep (`prosocial direg gradient`). The entries
                whose subtraction raises the text's loss most, to first order, are taken for unmoved.
            protected: share of the entries to leave out so.
            compact: round the values to fp16, in a file of half the size.
            out: file to write the vector to; by default a temporary one, which goes when the vector does.

        Raises:
            ValueError: a density outside (0, 1], a contrast that is not above 0, copies that do not fit the base,
                entries that are not finite, or fewer than m entries that moved.
            FileExistsError: something stands at `out`.
        """
        options = ExtractOptions(
            density=density,
            benign=None if benign is None else str(benign),
            contrast=contrast,
            scope=scope,
            include=tuple(include),
            exclude=tuple(exclude),
            layers=None if layers is None else tuple(layers),
            protect=None if protect is None else str(protect),
            protected=protected,
            compact=compact,
        )
        if out is not None:
            return cls(extract_vector(base, harmful, options, Path(out)))
        folder = Path(tempfile.mkdtemp(prefix="harm-vector-"))
        try:
            vector = cls(extract_vector(base, harmful, options, folder / VECTOR_NAME))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(vector, shutil.rmtree, folder, ignore_errors=True)
        return vector

    def entries_of(self, name: str) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
        """Indices (int32, ascending, into the flattened tensor) and values (fp32) of a tensor's kept entries."""
        indices, values = self._content.entries_of(name)
        return torch.from_numpy(indices), torch.from_numpy(values)

    def content_hash(self) -> str:
        """SHA-256 over names, shapes and bytes of the indices and values; what the file says of itself is left out."""
        return self._content.content_hash()

    def subtract(
        self,
        base: str | Path,
        scale: float | Literal["auto"],
        out: str | Path,
        *,
        overwrite: bool = False,
        allow_mismatch: bool = False,
        evidence: str | Path | None = None,
    ) -> Path:
        """Write θ_s = θ − λ · τ_m: the same files, edited; tensors without kept entries are the same byte for byte.

        Arithmetic is in fp32, cast back to the dtype on disk. The checkpoint is written beside `out` and renamed
        when it is whole.

        Args:
            base: θ, a checkpoint directory or a Hub id.
            scale: λ; "auto" takes the one that the sweep in `evidence` chose for this vector.
            out: a directory that does not exist yet.
            overwrite: replace a checkpoint that stands at `out`.
            allow_mismatch: edit a checkpoint whose weights are not those that the vector was made on.
            evidence: the folder of a sweep: its choice is recorded, and its pictures come along.

        Returns:
            `out`.

        Raises:
            ValueError: λ is not finite, another base, entries that would not be finite, or a sweep that chose
                nothing or another vector.
            FileExistsError: something stands at `out`.
            FileNotFoundError: the sweep has not chosen yet.
            OSError: too little room on the disk, or a write that failed; nothing is left at `out` then.
        """
        return subtract(
            self._content,
            base,
            scale,
            out,
            overwrite=overwrite,
            allow_mismatch=allow_mismatch,
            evidence=evidence,
        )

    def add(
        self, base: str | Path, scale: float, out: str | Path, *, overwrite: bool = False, allow_mismatch: bool = False
    ) -> Path:
        """Write θ + λ · τ_m, to undo `subtract`: equal to the base again within the rounding of its dtype.

        `base` must be a checkpoint that this vector was subtracted from, by its prosocial.json, unless
        `allow_mismatch`; the rest is as in `subtract`.
        """
        edit = CheckpointEdit(self._content, "add", scale)
        return edit.write(base, Path(out), overwrite=overwrite, allow_mismatch=allow_mismatch, evidence=None)

    def subtract_from(self, model: nn.Module, scale: float, *, allow_mismatch: bool = False) -> None:
        """Subtract λ · τ_m from a loaded model, in place.

        Args:
            model: the base, loaded in the dtype that it has on disk; its weights are hashed.
            scale: λ.
            allow_mismatch: edit a model whose weights are not those that the vector was made on.

        Raises:
            ValueError: another model's weights, a tensor that is not there or has another shape, or entries that would
                not be finite. The model is then as it was.
        """
        check_scale(scale)
        if not allow_mismatch:
            check_model(self._content, model)
        edit_model(self._content, model, -scale)

    def add_to(self, model: nn.Module, scale: float) -> None:
        """Add λ · τ_m to a loaded model, in place, to undo `subtract_from` within the rounding of its dtype.

        Raises:
            ValueError: as in `subtract_from`, but for the weights, which are not those of the base any more.
        """
        check_scale(scale)
        edit_model(self._content, model, scale)

    def summary(self) -> str:
        """One line: how many entries of how many, at which threshold."""
        record = self.record
        least = "a threshold in each tensor" if record.threshold is None else f"|τ| ≥ {record.threshold:.4g}"
        return (
            f"{record.kept:,} of {record.entries:,} entries kept ({record.requested:,} requested, density "
            f"{record.density:g}; {record.nonzero:,} moved), {least}"
        )

    def describe(self) -> Table:
        """Where the harm sits: for each kind of module, its density and its shares of entries and squared norm."""
        return kind_table(self.record)

    def draw(self, file: str | Path) -> None:
        """Draw where the harm sits, kinds of module by layer, as a heat map; the file's suffix is the format.

        Raises:
            ImportError: matplotlib is not installed (the extra `report`).
        """
        heat_map(self.record, file)

    def save_pretrained(self, directory: str | Path, *, evidence: str | Path | None = None) -> None:
        """Copy the vector's file into a directory, as `harm_vector.safetensors`.

        Args:
            directory: where to; made if it is not there.
            evidence: the folder of a sweep that chose this vector: its choice and its pictures come along, so that the
                directory says which λ to take, and a push tells why.

        Raises:
            ValueError: the sweep chose the base, or another vector.
        """
        choice = None if evidence is None else read_choice(evidence)
        if choice is not None:
            chosen_scale(self._content, choice)
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if choice is not None:
            choice.copy_to(directory, vector=Path(VECTOR_NAME).stem)
        with file_beside(directory / VECTOR_NAME) as work:
            shutil.copyfile(self.file, work)

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path, *, revision: str | None = None, token: str | bool | None = None
    ) -> "HarmVector":
        """Open a vector: its file, a directory with `harm_vector.safetensors`, or a Hub id."""
        found = find_vector(path_or_id, revision=revision, token=token)
        return cls(found.file, found.source)
