"""Where the harm sits: the shares add up, the table and the picture show them."""

import io
import sys

import pytest
from rich.console import Console
from support.checkpoints import kept_by, save_copies

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.describe import shares
from hf_prosocial.direg.selection import kind_of, layer_of


@pytest.fixture
def vector(tmp_path, tokenizer):
    return HarmVector.extract(*save_copies(tmp_path, tokenizer), 0.2)


def test_names_on_disk_have_layers_and_kinds():
    for name, layer, kind in (
        ("model.layers.11.self_attn.q_proj.weight", 11, "q_proj"),
        ("model.layers.3.input_layernorm.weight", 3, "input_layernorm"),
        ("h.0.attn.c_attn.bias", 0, "c_attn bias"),
        ("model.embed_tokens.weight", None, "embed_tokens"),
        ("model.layers.7.block_sparse_moe.experts.2.w1.weight", 7, "w1"),
        ("weight", None, "weight"),
    ):
        assert (layer_of(name), kind_of(name)) == (layer, kind)


def test_shares_add_up(vector):
    dense = kept_by(vector)
    for share in shares(vector.record):
        names = [name for name in dense if (layer_of(name), kind_of(name)) == (share.layer, share.kind)]
        assert share.entries == sum(dense[name].numel() for name in names)
        assert share.kept == sum(int(dense[name].count_nonzero()) for name in names)
        expected = sum(dense[name].double().square().sum().item() for name in names)
        assert share.squared_norm == pytest.approx(expected, rel=1e-6)
    assert sum(share.kept for share in shares(vector.record)) == vector.record.kept


def test_the_table_and_the_picture(vector, tmp_path, monkeypatch):
    console = Console(file=io.StringIO(), width=120)
    console.print(vector.describe())
    text = console.file.getvalue()
    assert "q_proj" in text
    assert f"{vector.record.kept:,}" in text
    assert f"{vector.record.kept:,} of {vector.record.entries:,} entries kept" in vector.summary()
    vector.draw(tmp_path / "harm.png")
    assert (tmp_path / "harm.png").read_bytes().startswith(b"\x89PNG")
    vector.draw(tmp_path / "harm.svg")
    assert (
        "layer (–: outside the layers)" in (tmp_path / "harm.svg").read_text()
        or "<svg" in (tmp_path / "harm.svg").read_text()
    )
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        vector.draw(tmp_path / "never.png")
