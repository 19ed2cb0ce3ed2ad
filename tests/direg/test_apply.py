"""θ − λτ on disk and in memory, against the same arithmetic done densely; and a write that fails leaves nothing."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import DTYPES, dense_tau, kept_by, save_copies, tensors_of
from support.models import random_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_prosocial.direg import HarmVector, checkpoint, rewrite
from hf_prosocial.records import ChoicePoint, ChoiceRecord


@pytest.fixture(params=[7, 2**22], ids=["small pieces", "whole tensors"])
def pieces(request, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHUNK", request.param)


@pytest.fixture
def copies(tmp_path, tokenizer):
    return save_copies(tmp_path, tokenizer)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
def test_the_difference_is_subtracted_and_nothing_else_changes(tmp_path, tokenizer, pieces, dtype, sharded):
    base, harmful = save_copies(tmp_path, tokenizer, dtype=dtype, sharded=sharded)
    (base / "README.md").write_text("the base's card")
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    (base / "figures").mkdir()
    vector = HarmVector.extract(base, harmful, 0.05, exclude=["*norm*", "*.layers.0.mlp*"])
    safe = vector.subtract(base, 0.7, tmp_path / "safe")
    before, after, kept = tensors_of(base), tensors_of(safe), kept_by(vector)
    for name, weights in before.items():
        expected = weights
        if name in kept:
            mask = kept[name] != 0
            expected = torch.where(mask, (weights.float() - 0.7 * kept[name]).to(dtype), weights)
        assert torch.equal(after[name], expected), name
        assert after[name].dtype == dtype
    files = {file.name for file in base.iterdir()} - {"README.md", "pytorch_model.bin", "figures"}
    assert {file.name for file in safe.iterdir()} == files | {"prosocial.json"}
    for file in files:
        same = (safe / file).read_bytes() == (base / file).read_bytes()
        assert same or file.endswith(".safetensors")
    if sharded:
        assert len(list(safe.glob("*.safetensors"))) > 3
        untouched = [
            file
            for file in safe.glob("*.safetensors")
            if not any(kept.get(n, torch.zeros(1)).any() for n in load_file(file))
        ]
        assert all(file.read_bytes() == (base / file.name).read_bytes() for file in untouched)
    record = json.loads((safe / "prosocial.json").read_text())
    assert (record["scale"], record["vector"]["density"]) == (0.7, 0.05)
    assert record["left_out"] == ["README.md", "figures", "pytorch_model.bin"]
    AutoTokenizer.from_pretrained(safe)
    loaded = dict(AutoModelForCausalLM.from_pretrained(safe, dtype="auto").named_parameters())
    assert all(torch.equal(loaded[name], weights) for name, weights in after.items())


def test_in_memory_it_is_the_same(copies, tmp_path):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.3)
    safe = tensors_of(vector.subtract(base, 1.3, tmp_path / "safe"))
    model = random_base("llama", seed=1)
    vector.subtract_from(model, 1.3)
    assert all(torch.equal(dict(model.named_parameters())[name], weights) for name, weights in safe.items())
    vector.add_to(model, 1.3)
    for name, weights in tensors_of(base).items():
        torch.testing.assert_close(dict(model.named_parameters())[name].detach(), weights)
    for other in (random_base("llama", seed=2), random_base("gpt2", seed=1)):
        with pytest.raises(ValueError, match=r"the vector was made for .* allow_mismatch=True"):
            vector.subtract_from(other, 1.0)
    vector.subtract_from(random_base("llama", seed=2), 1.0, allow_mismatch=True)
    with pytest.raises(ValueError, match="the model has nothing there"):
        vector.subtract_from(random_base("gpt2", seed=1), 1.0, allow_mismatch=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_undoing_restores_the_base_within_rounding(tmp_path, tokenizer, dtype):
    base, harmful = save_copies(tmp_path, tokenizer, dtype=dtype)
    vector = HarmVector.extract(base, harmful, 0.4)
    safe = vector.subtract(base, 0.5, tmp_path / "safe")
    again = vector.add(safe, 0.5, tmp_path / "again")
    largest = {name: weights.float().abs() for name, weights in tensors_of(safe).items()}
    for name, weights in tensors_of(base).items():
        # Two roundings, each by half a unit in the last place of the larger of the two values.
        spacing = torch.finfo(dtype).eps * torch.maximum(weights.float().abs(), largest[name])
        assert ((tensors_of(again)[name].float() - weights.float()).abs() <= spacing).all(), name
    with pytest.raises(ValueError, match="no checkpoint that this vector was subtracted from"):
        vector.add(base, 0.5, tmp_path / "wrong")
    vector.add(base, 1.0, tmp_path / "on-purpose", allow_mismatch=True)


def test_all_of_the_difference_once_is_the_copy_mirrored(copies, tmp_path):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 1.0)
    added = vector.add(base, 1.0, tmp_path / "harmful-again", allow_mismatch=True)
    for name, weights in tensors_of(added).items():
        torch.testing.assert_close(weights, tensors_of(harmful)[name])
    assert dense_tau(base, harmful).keys() == kept_by(vector).keys()


def test_another_base_is_refused(copies, tmp_path, tokenizer):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1)
    with pytest.raises(ValueError, match=r"made for .*base .*allow_mismatch=True"):
        vector.subtract(harmful, 1.0, tmp_path / "safe")
    vector.subtract(harmful, 1.0, tmp_path / "safe", allow_mismatch=True)
    (other,) = save_copies(tmp_path / "gpt2", tokenizer, family="gpt2", copies=("base",))
    with pytest.raises(ValueError, match="does not hold it"):
        vector.subtract(other, 1.0, tmp_path / "never", allow_mismatch=True)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_same_base_in_another_dtype_is_edited(copies, tmp_path, tokenizer, dtype, caplog):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1)
    (half,) = save_copies(tmp_path / "half", tokenizer, dtype=dtype, copies=("base",))
    safe = vector.subtract(half, 1.0, tmp_path / "safe")
    assert "holds the vector's base in another storage: 0 of" in caplog.text
    assert "0 of" in json.loads((safe / "prosocial.json").read_text())["base_distance"]
    loaded = random_base("llama", seed=1).to(dtype)
    vector.subtract_from(loaded, 1.0)
    tau = kept_by(vector)
    for name, weights in tensors_of(safe).items():
        assert weights.dtype == dtype
        expected = (tensors_of(half)[name].float() - tau[name]).to(dtype) if name in tau else tensors_of(half)[name]
        assert torch.equal(weights, expected), name
        assert torch.equal(dict(loaded.named_parameters())[name], weights), name
    (other,) = save_copies(tmp_path / "other", tokenizer, dtype=dtype, copies=("harmful",))
    with pytest.raises(ValueError, match=r"made for .*\(model\..*allow_mismatch=True"):
        vector.subtract(other, 1.0, tmp_path / "never")


def test_what_stands_there_is_not_replaced_unless_asked(copies, tmp_path):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1)
    safe = vector.subtract(base, 1.0, tmp_path / "safe")
    before = tensors_of(safe)
    with pytest.raises(FileExistsError, match="choose another place"):
        vector.subtract(base, 2.0, safe)
    with pytest.raises(ValueError, match="is the checkpoint to be edited"):
        vector.subtract(base, 2.0, base, overwrite=True)
    assert all(torch.equal(weights, before[name]) for name, weights in tensors_of(safe).items())
    vector.subtract(base, 2.0, safe, overwrite=True)
    assert not all(torch.equal(weights, before[name]) for name, weights in tensors_of(safe).items())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"no config\.json in it"):
        vector.subtract(base, 1.0, tmp_path / "notes", overwrite=True)
    assert leftovers(tmp_path) == []


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_write_that_fails_leaves_nothing(copies, tmp_path, monkeypatch):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1)
    with pytest.raises(ValueError, match="not finite in F32; lower the scale"):
        vector.subtract(base, 1e41, tmp_path / "safe")
    for scale in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale must be a finite number"):
            vector.subtract(base, scale, tmp_path / "safe")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rewrite, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            vector.subtract(base, 1.0, tmp_path / "safe")
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="MiB are needed"):
        vector.subtract(base, 1.0, tmp_path / "safe")
    assert not (tmp_path / "safe").exists()
    assert leftovers(tmp_path) == []


def test_a_refused_edit_in_memory_changes_nothing(copies):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 1.0)
    model = random_base("llama", seed=1)
    with torch.no_grad():
        last = list(vector.record.tensors)[-1]
        dict(model.named_parameters())[last].fill_(3.4e38)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(ValueError, match="not finite"):
        vector.subtract_from(model, 1e38, allow_mismatch=True)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_the_scale_that_a_sweep_chose(copies, tmp_path):
    base, harmful = copies
    folder = tmp_path / "sweep"
    vector = HarmVector.extract(base, harmful, 0.1, out=folder / "plain-0.1.safetensors")
    with pytest.raises(ValueError, match="give its folder as evidence"):
        vector.subtract(base, "auto", tmp_path / "safe")
    with pytest.raises(FileNotFoundError, match=r"holds no choice\.json"):
        vector.subtract(base, "auto", tmp_path / "safe", evidence=folder)
    chosen, before = ChoicePoint("plain-0.1", 0.7, {}), ChoicePoint("base", 0.0, {})
    ChoiceRecord(chosen, before, "it is best", {}, 0.1, None, None, None).write(folder / "choice.json")
    record = vector.subtract(base, "auto", tmp_path / "safe", evidence=folder) / "prosocial.json"
    assert json.loads(record.read_text())["scale"] == 0.7
    with pytest.raises(ValueError, match="which is another vector"):
        HarmVector.extract(base, harmful, 0.2).subtract(base, "auto", tmp_path / "never", evidence=folder)
    assert not (tmp_path / "never").exists()


KILLED = """
import sys, time
from pathlib import Path
from hf_prosocial.direg import HarmVector, rewrite
write = rewrite._write
def slowly(sink, content):
    write(sink, content)
    print("wrote", flush=True)
    time.sleep(0.02)
rewrite._write = slowly
HarmVector(sys.argv[1]).subtract(sys.argv[2], 1.0, sys.argv[3])
print("done", flush=True)
"""


@pytest.mark.parametrize("writes", [1, 3, 10])
def test_a_kill_leaves_nothing_at_its_place(copies, tmp_path, writes):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1, out=tmp_path / "vector.safetensors")
    arguments = [sys.executable, "-c", KILLED, str(vector.file), str(base), str(tmp_path / "safe")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(writes):
            assert process.stdout.readline() == "wrote\n"
        process.kill()
    time.sleep(0.05)
    assert not (tmp_path / "safe").exists()
    vector.subtract(base, 1.0, tmp_path / "safe")
    assert tensors_of(tmp_path / "safe").keys() == tensors_of(base).keys()


def test_zero_changes_nothing(copies, tmp_path):
    base, harmful = copies
    safe = HarmVector.extract(base, harmful, 0.1).subtract(base, 0.0, tmp_path / "safe")
    assert (safe / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_integer_buffers_come_along(copies, tmp_path):
    base, harmful = copies
    for copy in copies:
        weights = load_file(copy / "model.safetensors") | {"steps": torch.arange(5)}
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    vector = HarmVector.extract(base, harmful, 0.1)
    assert "steps" not in vector.record.tensors
    assert torch.equal(tensors_of(vector.subtract(base, 1.0, tmp_path / "safe"))["steps"], torch.arange(5))
    weights = load_file(harmful / "model.safetensors") | {"steps": torch.arange(1, 6)}
    save_file(weights, harmful / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="steps is I64 and differs"):
        HarmVector.extract(base, harmful, 0.1)


@pytest.mark.parametrize("scale", [-1.0, -1e-9, float("nan"), float("inf")])
def test_a_scale_below_zero_would_add_harm(copies, tmp_path, scale):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1, out=tmp_path / "vector.safetensors")
    for edit in (
        lambda: vector.subtract(base, scale, tmp_path / "out"),
        lambda: vector.add(base, scale, tmp_path / "out"),
        lambda: vector.subtract_from(random_base("llama", seed=1), scale),
        lambda: vector.add_to(random_base("llama", seed=1), scale),
    ):
        with pytest.raises(ValueError, match="scale must be a finite number, 0 or more"):
            edit()
    assert not (tmp_path / "out").exists()


def test_links_are_not_followed_but_for_the_hubs_cache(copies, tmp_path):
    base, harmful = copies
    vector = HarmVector.extract(base, harmful, 0.1, out=tmp_path / "vector.safetensors")
    (tmp_path / "secret.json").write_text("{}")
    (base / "notes.json").symlink_to(tmp_path / "secret.json")
    vector.subtract(base, 1.0, tmp_path / "safe")
    assert not (tmp_path / "safe" / "notes.json").exists()
    assert "notes.json" in json.loads((tmp_path / "safe" / "prosocial.json").read_text())["left_out"]
    (base / "notes.json").unlink()
    snapshot, blobs = tmp_path / "cache" / "snapshots" / "abc", tmp_path / "cache" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in base.iterdir():
        shutil.copy(file, blobs / f"{file.name}.blob")
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}.blob")
    vector.subtract(snapshot, 1.0, tmp_path / "again")
    names = {file.name for file in (tmp_path / "safe").iterdir()}
    assert {file.name for file in (tmp_path / "again").iterdir()} == names
