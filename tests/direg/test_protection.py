"""Leaving out what a text needs: the gradient against autograd, the entries left out against their definition."""

import pytest
import torch
from safetensors.torch import load_file
from support.checkpoints import dense_kept, dense_tau, kept_by, save_copies
from support.models import random_base
from transformers import AutoModelForCausalLM

from hf_prosocial.direg import HarmVector, checkpoint, write_text_gradient
from hf_prosocial.models import text_loss

TEXT = "i am sad you can ask me take your time thank you what is it no idea " * 6


@pytest.fixture(params=[7, 2**22], ids=["small pieces", "whole tensors"])
def pieces(request, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHUNK", request.param)


@pytest.fixture
def made(tmp_path, tokenizer):
    """A base, its harmful copy, and the gradient of a text."""
    base, harmful = save_copies(tmp_path, tokenizer)
    (tmp_path / "text.txt").write_text(TEXT)
    record = write_text_gradient(base, tmp_path / "text.txt", tmp_path / "gradient.safetensors", window=16)
    return base, harmful, tmp_path / "gradient.safetensors", record


def test_the_gradient_is_that_of_the_mean_loss(made, tokenizer):
    base, _, file, record = made
    model = AutoModelForCausalLM.from_pretrained(base)
    assert record.loss == pytest.approx(text_loss(model, tokenizer, TEXT, window=16), abs=1e-6)
    ids = torch.tensor(tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    pieces = [piece for piece in ids.split(16) if len(piece) > 1]
    assert record.tokens == sum(len(piece) - 1 for piece in pieces)
    losses = [-model(piece[None]).logits[0, :-1].log_softmax(-1).gather(1, piece[1:, None]).sum() for piece in pieces]
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(torch.stack(losses).sum() / record.tokens, list(parameters.values()))
    found = load_file(file)
    assert found.keys() == parameters.keys()
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_the_entries_left_out_are_those_that_raise_the_loss_most(made, pieces, density):
    base, harmful, file, record = made
    vector = HarmVector.extract(base, harmful, density, protect=file, protected=0.02)
    tau, gradient = dense_tau(base, harmful), load_file(file)
    rise = torch.cat([-(gradient[name] * tau[name]).flatten() for name in tau])
    share = -(-2 * len(rise) // 100)
    least = rise.sort(descending=True).values[share - 1]
    left = {name: tau[name].masked_fill(-(gradient[name] * tau[name]) >= least, 0.0) for name in tau}
    assert sum(int(values.count_nonzero()) for values in left.values()) == len(rise) - share
    kept = dense_kept(left, vector.record.requested)
    for name, values in kept_by(vector).items():
        assert torch.equal(values, torch.where(kept[name], tau[name], 0.0)), name
    protection = vector.record.protection
    assert (protection.gradient, protection.share, protection.left_out) == (record, 0.02, share)
    assert protection.threshold == least
    assert HarmVector(vector.file).record == vector.record


def test_the_texts_loss_rises_less(made, tokenizer):
    base, harmful, file, _ = made
    changes = []
    for protect in (None, file):
        vector = HarmVector.extract(base, harmful, 1.0 if protect is None else 0.9, protect=protect, protected=0.05)
        model = random_base("llama", seed=1)
        before = text_loss(model, tokenizer, TEXT, window=16)
        vector.subtract_from(model, 0.01)
        changes.append(text_loss(model, tokenizer, TEXT, window=16) - before)
    assert changes[1] < changes[0] - 1e-5


def test_bad_input(made, tmp_path):
    base, harmful, file, _ = made
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="protected share must be in"):
            HarmVector.extract(base, harmful, protect=file, protected=share)
    with pytest.raises(FileNotFoundError, match="prosocial direg gradient"):
        HarmVector.extract(base, harmful, protect=tmp_path / "none")
    with pytest.raises(ValueError, match="has the format 'pt'"):
        HarmVector.extract(base, harmful, protect=base / "model.safetensors")
    with pytest.raises(ValueError, match="was taken on"):
        HarmVector.extract(harmful, base, protect=file)
    with pytest.raises(ValueError, match="nothing to protect"):
        HarmVector.extract(base, base, protect=file)
    with pytest.raises(FileExistsError, match="another place for the gradient"):
        write_text_gradient(base, tmp_path / "text.txt", file)
    (tmp_path / "short.txt").write_text("i")
    with pytest.raises(ValueError, match="at least 2 tokens"):
        write_text_gradient(base, tmp_path / "short.txt", tmp_path / "never.safetensors")
    assert not (tmp_path / "never.safetensors").exists()
