"""What is no whole checkpoint, or no copy of the base, is refused before anything is written."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import save_copies

from hf_prosocial.direg import HarmVector, open_checkpoint


@pytest.fixture
def copies(tmp_path, tokenizer):
    return save_copies(tmp_path, tokenizer)


@pytest.fixture
def shards(tmp_path, tokenizer):
    return save_copies(tmp_path, tokenizer, sharded=True)


def rewrite(copy, change):
    weights = load_file(copy / "model.safetensors")
    change(weights)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})


def reindex(copy, change):
    index = copy / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))


def refused(base, harmful, tmp_path, message, error=ValueError):
    with pytest.raises(error, match=message):
        HarmVector.extract(base, harmful, 0.1, out=tmp_path / "vector.safetensors")
    assert not (tmp_path / "vector.safetensors").exists()
    assert not list(tmp_path.glob("*.partial"))


NAME = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop(NAME),
            r"lacks model\.layers\.0\.self_attn\.q_proj\.weight and has besides nothing",
        ),
        (lambda weights: weights.update(extra=torch.zeros(2)), "lacks nothing and has besides extra"),
        (
            lambda weights: weights.update({NAME: weights[NAME][:, :8].clone()}),
            r"has shape \(16, 8\) in .*\(16, 16\) in",
        ),
        (lambda weights: weights.update({NAME: weights[NAME].half()}), "has dtype F16 in .* but F32"),
        (lambda weights: weights[NAME][3, 4].fill_(float("nan")), r"1 entries .* infinite or NaN: model\.layers\.0"),
        (lambda weights: weights[NAME][:2, 0].fill_(float("inf")), r"2 entries .* infinite or NaN: model\.layers\.0"),
    ],
    ids=["missing", "extra", "shape", "dtype", "nan", "inf"],
)
def test_copies_that_do_not_fit(copies, tmp_path, change, message):
    base, harmful = copies
    rewrite(harmful, change)
    refused(base, harmful, tmp_path, message)


def test_another_architecture(copies, tmp_path, tokenizer):
    (other,) = save_copies(tmp_path / "other", tokenizer, family="gpt2", copies=("harmful",))
    refused(copies[0], other, tmp_path, "is no copy of .*Fine-tune this base")


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_file(copies, tmp_path, length):
    base, harmful = copies
    content = (harmful / "model.safetensors").read_bytes()
    (harmful / "model.safetensors").write_bytes(content[:length])
    refused(base, harmful, tmp_path, r"model\.safetensors is not a whole safetensors file")


def test_a_corrupted_header(copies, tmp_path):
    base, harmful = copies
    content = bytearray((harmful / "model.safetensors").read_bytes())
    content[9:12] = b"\xff\xff\xff"
    (harmful / "model.safetensors").write_bytes(content)
    refused(base, harmful, tmp_path, "is not a whole safetensors file")


def test_an_index_that_does_not_fit(shards, tmp_path):
    base, harmful = shards
    first = sorted(path.name for path in harmful.glob("*.safetensors"))[0]
    good = (harmful / "model.safetensors.index.json").read_text()
    for change, message, error in (
        (
            lambda content: content["weight_map"].update(lost="gone.safetensors"),
            "names gone.safetensors",
            FileNotFoundError,
        ),
        (lambda content: content["weight_map"].update(lost=first), "missing there lost", ValueError),
        (lambda content: content["weight_map"].pop("model.norm.weight"), "not in the index", ValueError),
        (lambda content: content.pop("weight_map"), "is not an index", ValueError),
        (
            lambda content: content["weight_map"].update(lost="../base/" + first),
            "must be a file of the same",
            ValueError,
        ),
        (lambda content: content["weight_map"].update(lost="/etc/hosts"), "must be a file of the same", ValueError),
        (lambda content: content["weight_map"].update(lost=3), "is not an index|must be a file", ValueError),
    ):
        reindex(harmful, change)
        refused(base, harmful, tmp_path, message, error)
        (harmful / "model.safetensors.index.json").write_text(good)
    (harmful / "model.safetensors.index.json").write_text("{")
    refused(base, harmful, tmp_path, "is not an index")


def test_weights_in_other_formats(tmp_path):
    for name, message in (
        ("pytorch_model.bin", r"pickled weights .*can run code.*save_pretrained\(NEW\)"),
        ("model.gguf", "GGUF weights; convert them"),
        ("notes.txt", r"neither model\.safetensors nor"),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=message):
            open_checkpoint(folder)
    with pytest.raises(FileNotFoundError, match=r"no directory .*nowhere; .* holds"):
        open_checkpoint(tmp_path / "nowhere")


def adapter(folder, weights, **config):
    folder.mkdir(exist_ok=True)
    content = {"peft_type": "LORA", "r": 2, "lora_alpha": 4} | config
    (folder / "adapter_config.json").write_text(json.dumps(content))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_adapters_that_are_more_or_less_than_a_lora(copies, tmp_path):
    base, _ = copies
    key = "base_model.model." + NAME.removesuffix(".weight")
    A, B = torch.ones(2, 16), torch.ones(16, 2)
    good = {f"{key}.lora_A.weight": A, f"{key}.lora_B.weight": B}
    for weights, config, message in (
        (good, {"peft_type": "PBLORA"}, "holds a PBLORA adapter"),
        (good, {"use_dora": True}, "uses use_dora, which is more than"),
        (good, {"bias": "all"}, "uses bias=all"),
        (good, {"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({f"{key}.lora_A.weight": A}, {}, r"only \['A'\] of A and B"),
        (good | {f"{key}.lora_magnitude_vector": torch.ones(16)}, {}, "LoRA factors A and B were expected"),
        ({f"{key}x.lora_A.weight": A, f"{key}x.lora_B.weight": B}, {}, "does not hold; pass its own base"),
        (good | {f"{key}.lora_B.weight": torch.ones(9, 2)}, {}, r"by a matrix of \(9, 16\), the base's has \(16, 16\)"),
        (good | {f"{key}.lora_B.weight": B * float("nan")}, {}, "infinite or NaN factors"),
    ):
        refused(base, adapter(tmp_path / "adapter", weights, **config), tmp_path, message)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    refused(base, tmp_path / "adapter", tmp_path, "uses|has no adapter_model", (ValueError, FileNotFoundError))
