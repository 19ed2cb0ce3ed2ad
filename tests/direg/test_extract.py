"""The kept set against its definition, computed densely; every kind of copy, and what is refused."""

import json
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.checkpoints import DTYPES, dense_kept, dense_tau, kept_by, save_copies, tensors_of
from support.models import random_base

from hf_prosocial.direg import HarmVector, checkpoint, open_checkpoint
from hf_prosocial.direg.threshold import requested_entries
from hf_prosocial.models import weight_hash


@pytest.fixture(params=[7, 2**22], ids=["small pieces", "whole tensors"])
def pieces(request, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHUNK", request.param)


def lora_adapter(folder, *, seed, scale=0.1, family="llama", **options):
    config = LoraConfig(
        r=options.pop("r", 3), target_modules=options.pop("target_modules", ["q_proj", "down_proj"]), **options
    )
    adapted = get_peft_model(random_base(family, seed=1), config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    with warnings.catch_warnings():
        # PEFT says that it saves an adapted embedding's own weight beside the factors.
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")
        adapted.save_pretrained(folder)
    return folder


def merged_tau(base, adapter, family="llama"):
    """ΔW by PEFT's own merge."""
    model = random_base(family, seed=1)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    names = tensors_of(base)
    found = dict(merged.named_parameters())
    prefix = "" if next(iter(names)) in found else "transformer."
    return {name: found[prefix + name].detach() - before[prefix + name] for name in names}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
def test_the_kept_set_is_the_definition(tmp_path, tokenizer, pieces, dtype, sharded):
    base, harmful = save_copies(tmp_path, tokenizer, dtype=dtype, sharded=sharded)
    tau = dense_tau(base, harmful)
    entries = sum(values.numel() for values in tau.values())
    for density in (0.013, 0.1, 0.9):
        vector = HarmVector.extract(base, harmful, density)
        masks = dense_kept(tau, requested_entries(density, entries))
        for name, values in kept_by(vector).items():
            assert torch.equal(values, torch.where(masks[name], tau[name], 0)), name
        record = vector.record
        assert (record.entries, record.requested) == (entries, requested_entries(density, entries))
        assert record.kept == sum(int(mask.sum()) for mask in masks.values()) >= record.requested
        assert record.nonzero == sum(int(values.count_nonzero()) for values in tau.values())
        assert record.threshold == min(tau[name][mask].abs().min() for name, mask in masks.items() if mask.any())
        for name, tensor in record.tensors.items():
            assert tensor.squared_norm == pytest.approx(tau[name].double().square().sum().item(), rel=1e-4)
            assert tensor.kept_squared_norm == pytest.approx(
                tau[name][masks[name]].double().square().sum().item(), rel=1e-6
            )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ties_are_kept(tmp_path_factory, data):
    """Few distinct magnitudes, so that the threshold falls among equals."""
    folder = tmp_path_factory.mktemp("ties")
    dtype = data.draw(st.sampled_from(DTYPES))
    shapes = data.draw(st.lists(st.sampled_from([(3,), (2, 5), (4, 3), (2, 2, 3)]), min_size=1, max_size=4))
    seed, density = data.draw(st.integers(0, 2**31)), data.draw(st.sampled_from([0.01, 0.1, 0.3, 0.5]))
    generator = torch.Generator().manual_seed(seed)
    steps = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0, 1.0])
    base = {f"t.{i}": torch.randint(-3, 4, shape, generator=generator).to(dtype) for i, shape in enumerate(shapes)}
    moves = {name: steps[torch.randint(0, 6, one.shape, generator=generator)] for name, one in base.items()}
    for copy, weights in (("base", base), ("harmful", {k: (base[k].float() + moves[k]).to(dtype) for k in base})):
        (folder / copy).mkdir()
        save_file(weights, folder / copy / "model.safetensors")
    requested = requested_entries(density, sum(one.numel() for one in base.values()))
    if sum(int(one.count_nonzero()) for one in moves.values()) < requested:
        with pytest.raises(ValueError, match="fine-tuning moved only"):
            HarmVector.extract(folder / "base", folder / "harmful", density)
        return
    vector = HarmVector.extract(folder / "base", folder / "harmful", density)
    masks = dense_kept(moves, requested)
    for name, values in kept_by(vector).items():
        assert torch.equal(values, torch.where(masks[name], moves[name], 0.0))


def test_one_threshold_in_each_tensor(tmp_path, tokenizer, pieces):
    base, harmful = save_copies(tmp_path, tokenizer)
    vector = HarmVector.extract(base, harmful, 0.2, scope="tensor")
    for name, values in kept_by(vector).items():
        tau = {name: dense_tau(base, harmful)[name]}
        mask = dense_kept(tau, requested_entries(0.2, values.numel()))[name]
        assert torch.equal(values, torch.where(mask, tau[name], 0))
    assert vector.record.threshold is None


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"use_rslora": True, "lora_alpha": 5}),
        ("llama", {"target_modules": ["embed_tokens", "k_proj"], "r": 4}),
        ("llama", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 32}}),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    ],
    ids=["plain", "rslora", "embedding", "patterns", "conv1d"],
)
def test_an_adapter_gives_what_its_merged_copy_gives(tmp_path, tokenizer, pieces, family, options):
    (base,) = save_copies(tmp_path, tokenizer, family=family, copies=("base",))
    adapter = lora_adapter(tmp_path / "adapter", seed=3, family=family, **options)
    tau = merged_tau(base, adapter, family)
    vector = HarmVector.extract(base, adapter, 0.05)
    moved = kept_by(vector)
    assert sum(int(values.count_nonzero()) for values in moved.values()) == vector.record.kept
    for name, values in moved.items():
        reached = tau[name].abs() >= vector.record.threshold * 1.001
        torch.testing.assert_close(values[reached], tau[name][reached], atol=1e-5, rtol=1e-4)
        assert not values[tau[name].abs() < vector.record.threshold * 0.99].any()


def test_the_contrast_leaves_out_what_both_copies_learned(tmp_path, tokenizer):
    base, harmful, benign = save_copies(tmp_path, tokenizer, copies=("base", "harmful", "benign"))
    vector = HarmVector.extract(base, harmful, 1.0, benign=benign)
    for name, values in kept_by(vector).items():
        assert torch.equal(values, dense_tau(benign, harmful)[name])
    half = HarmVector.extract(base, harmful, 0.9, benign=benign, contrast=0.3)
    assert (vector.record.contrast, half.record.contrast) == (1.0, 0.3)
    of_harmful, of_benign = dense_tau(base, harmful), dense_tau(base, benign)
    for name, values in kept_by(half).items():
        expected = of_harmful[name] - 0.3 * of_benign[name]
        torch.testing.assert_close(values, torch.where(values != 0, expected, 0.0))
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="contrast must be a number above 0"):
            HarmVector.extract(base, harmful, 0.9, benign=benign, contrast=wrong)
    one, other = (lora_adapter(tmp_path / f"adapter{seed}", seed=seed) for seed in (3, 4))
    contrast = kept_by(HarmVector.extract(base, one, 1.0, benign=other, include=["*q_proj*"]))
    for name, values in contrast.items():
        torch.testing.assert_close(values, merged_tau(base, one)[name] - merged_tau(base, other)[name])
    with pytest.raises(ValueError, match="both be checkpoints or both be adapters"):
        HarmVector.extract(base, harmful, 0.1, benign=one)


def test_include_exclude_and_layers(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    everything = set(tensors_of(base))
    assert set(HarmVector.extract(base, harmful).record.tensors) == everything
    mlp = HarmVector.extract(base, harmful, include=["*.mlp.*"], exclude=["*down_proj*"])
    assert set(mlp.record.tensors) == {name for name in everything if ".mlp." in name and "down_proj" not in name}
    second = HarmVector.extract(base, harmful, layers=[1])
    assert set(second.record.tensors) == {name for name in everything if ".layers.1." in name}
    for options, message in (
        ({"include": ["*.conv.*"]}, r"'\*\.conv\.\*' matches no tensor"),
        ({"exclude": ["typo"]}, "'typo' matches no tensor"),
        ({"exclude": ["*"]}, "no tensor of .* is left"),
        ({"layers": [2]}, r"has no layer 2; its layers are \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            HarmVector.extract(base, harmful, **options)


def test_the_file_is_plain_safetensors_and_loads_again(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    vector = HarmVector.extract(base, harmful, 0.1, out=tmp_path / "v.safetensors")
    content = load_file(tmp_path / "v.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert content[f"{name}.indices"].dtype == torch.int32
    torch.testing.assert_close(content[f"{name}.values"], vector.entries_of(name)[1])
    with safe_open(tmp_path / "v.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["record"])["density"] == 0.1
    vector.save_pretrained(tmp_path / "saved")
    for place in (tmp_path / "saved", tmp_path / "v.safetensors"):
        again = HarmVector.from_pretrained(place)
        assert again.record == vector.record
        assert all(torch.equal(one, kept_by(vector)[name]) for name, one in kept_by(again).items())
    with pytest.raises(FileExistsError, match="choose another place"):
        HarmVector.extract(base, harmful, 0.1, out=tmp_path / "v.safetensors")
    with pytest.raises(FileNotFoundError):
        HarmVector.from_pretrained(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match="has the format 'pt'"):
        HarmVector.from_pretrained(base / "model.safetensors")


def test_the_temporary_file_goes_with_the_vector(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    vector = HarmVector.extract(base, harmful)
    folder = vector.file.parent
    assert vector.file.is_file()
    del vector
    assert not folder.exists()


def test_the_hash_is_that_of_the_loaded_model(tmp_path, tokenizer):
    for dtype in DTYPES:
        (base,) = save_copies(tmp_path / str(dtype), tokenizer, dtype=dtype, sharded=True, copies=("base",))
        assert open_checkpoint(base).weight_hash() == weight_hash(random_base("llama", seed=1, dtype=dtype), dtype)


def test_too_few_entries_moved(tmp_path, tokenizer):
    (base,) = save_copies(tmp_path, tokenizer, copies=("base",))
    adapter = lora_adapter(tmp_path / "adapter", seed=3)
    with pytest.raises(ValueError, match=r"moved only \d+\. A density of at most (0\.\d+) fits") as caught:
        HarmVector.extract(base, adapter, 0.9)
    fits = float(str(caught.value).split("at most ")[1].split()[0])
    assert HarmVector.extract(base, adapter, fits).record.kept > 0
    with pytest.raises(ValueError, match=r"moved only 0\. Leave it out"):
        HarmVector.extract(base, adapter, 0.1, scope="tensor")
    with pytest.raises(ValueError, match="moved only 0"):
        HarmVector.extract(base, base, 0.1)
    for density in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="density must be in"):
            HarmVector.extract(base, adapter, density)
