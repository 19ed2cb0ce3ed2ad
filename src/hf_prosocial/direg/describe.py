"""Where the harm sits: a vector's share of each layer and kind of module, as a table and as a picture."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from rich.table import Table

from hf_prosocial.records import VectorRecord

from .selection import kind_of, layer_of


@dataclass(frozen=True)
class Share:
    """One kind of module in one layer.

    Attributes:
        layer: its index; None for what lies outside the layers.
        kind: the module's name, such as "q_proj".
        entries: entries that were looked at.
        kept: entries in the vector.
        squared_norm: Σ τ² over the kept entries.
    """

    layer: int | None
    kind: str
    entries: int
    kept: int
    squared_norm: float


def shares(record: VectorRecord) -> list[Share]:
    """A vector's tensors by layer and kind; those outside the layers come first."""
    found: dict[tuple[int | None, str], Share] = {}
    for name, tensor in record.tensors.items():
        key = (layer_of(name), kind_of(name))
        before = found.get(key, Share(*key, 0, 0, 0.0))
        found[key] = Share(
            *key,
            before.entries + prod(tensor.shape),
            before.kept + tensor.kept,
            before.squared_norm + tensor.kept_squared_norm,
        )
    return sorted(found.values(), key=lambda share: (-1 if share.layer is None else share.layer, share.kind))


def kind_table(record: VectorRecord) -> Table:
    """A row for each kind of module, over all layers: density there, and shares of kept entries and squared norm."""
    total_kept = record.kept
    total_norm = sum(tensor.kept_squared_norm for tensor in record.tensors.values())
    table = Table("kind", "entries", "kept", "density", "share of kept", "share of squared norm")
    every = shares(record)
    for kind in dict.fromkeys(share.kind for share in every):
        of_kind = [share for share in every if share.kind == kind]
        entries, kept = sum(share.entries for share in of_kind), sum(share.kept for share in of_kind)
        norm = sum(share.squared_norm for share in of_kind)
        table.add_row(
            kind,
            f"{entries:,}",
            f"{kept:,}",
            f"{kept / max(entries, 1):.2%}",
            f"{kept / total_kept:.2%}",
            f"{norm / total_norm:.2%}",
        )
    table.add_row("all", f"{record.entries:,}", f"{total_kept:,}", f"{total_kept / record.entries:.2%}", "", "")
    return table


def heat_map(record: VectorRecord, file: str | Path) -> None:
    """Draw layers against kinds: the share of entries that are kept, and the share of the vector's squared norm.

    Raises:
        ImportError: matplotlib is not installed (the extra `report`).
    """
    from matplotlib.figure import Figure

    every = shares(record)
    kinds = list(dict.fromkeys(share.kind for share in every))
    layers = sorted({-1 if share.layer is None else share.layer for share in every})
    total_norm = sum(share.squared_norm for share in every)
    density, norm = (np.full((len(kinds), len(layers)), np.nan) for _ in range(2))
    for share in every:
        cell = kinds.index(share.kind), layers.index(-1 if share.layer is None else share.layer)
        density[cell] = share.kept / max(share.entries, 1)
        norm[cell] = share.squared_norm / total_norm
    figure = Figure(figsize=(3 + 0.25 * len(layers), 1.6 + 0.5 * len(kinds)), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, values, title in (
        (panels[0], density, "share of the entries that are kept"),
        (panels[1], norm, "share of the vector's squared norm"),
    ):
        image = axes.imshow(100 * values, aspect="auto", cmap="magma")
        axes.set_title(title)
        axes.set_yticks(range(len(kinds)), kinds)
        figure.colorbar(image, ax=axes, format="%.3g %%")
    panels[1].set_xticks(range(len(layers)), ["–" if layer < 0 else str(layer) for layer in layers])
    panels[1].set_xlabel("layer (–: outside the layers)")
    figure.savefig(file, dpi=120)
