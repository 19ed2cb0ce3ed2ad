"""PBLoRA against its formula, dense; against PEFT's LoRA; and by its derivatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from support.models import VOCABULARY, random_arm, random_base, randomise

from hf_prosocial import PBLoraConfig, Preference
from hf_prosocial.pblora.layer import PBLoraLayer

IDS = torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))


def dense_delta(layer, p):
    """ΔW(p) = s · (B1·W1·A1 + B2·W2(p)·A2), written as METHOD writes it."""
    config = layer.pblora_config["default"]
    A, B, W1, W2 = (
        weights["default"].detach().double()
        for weights in (layer.pblora_A, layer.pblora_B, layer.pblora_W1, layer.pblora_W2)
    )
    A1, A2, B1, B2 = A[: config.r1], A[config.r1 :], B[:, : config.r1], B[:, config.r1 :]
    mixed = sum(weight.item() * W2[i].reshape(config.r2, config.r2) for i, weight in enumerate(p))
    return config.lora_alpha / config.r2 * (B1 @ W1 @ A1 + B2 @ mixed @ A2)


def layers(arm):
    return [module for module in arm.modules() if isinstance(module, PBLoraLayer)]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000), r1=st.integers(0, 4), r2=st.integers(1, 4), family=st.sampled_from(["llama", "gpt2"])
)
def test_forward_is_the_dense_formula(seed, r1, r2, family):
    """In float64 to the last digits; in fp32 within the rounding that the magnitudes allow."""
    for dtype in (torch.float64, torch.float32):
        arm = random_arm(family, seed=seed, r1=r1, r2=r2, dtype=dtype)
        p = Preference.sample(0.5, seed=seed).tensor().to(dtype)
        arm.set_preference(p)
        for layer in layers(arm)[:3]:
            x = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(seed)).to(dtype)
            weight = layer.get_base_layer().weight.detach().double()
            weight = weight.T if family == "gpt2" else weight
            expected = x.double() @ (weight + dense_delta(layer, p)).T
            if layer.get_base_layer().bias is not None:
                expected += layer.get_base_layer().bias.double()
            error = (layer(x).double() - expected).abs()
            if dtype == torch.float64:
                assert error.max() < 1e-9
            else:
                assert (error <= rounding(layer, x, p)).all()


def rounding(layer, x, p):
    """A bound on the fp32 error of each output: n·ε times the sum of the magnitudes of all products in it [Higham]."""
    config = layer.pblora_config["default"]
    A, B, W1, W2 = (
        weights["default"].detach().double().abs()
        for weights in (layer.pblora_A, layer.pblora_B, layer.pblora_W1, layer.pblora_W2)
    )
    core = torch.block_diag(W1, (p.double().abs() @ W2).view(config.r2, config.r2)) * config.scaling
    weight = layer.get_base_layer().weight.detach().double().abs()
    weight = weight.T if config.fan_in_fan_out else weight
    magnitude = x.double().abs() @ (weight + B @ core @ A).T
    if layer.get_base_layer().bias is not None:
        magnitude = magnitude + layer.get_base_layer().bias.double().abs()
    depth = layer.in_features + 2 * config.rank + len(p) + 8
    return depth * torch.finfo(torch.float32).eps * magnitude


def test_each_row_has_its_own_preference(family):
    arm = random_arm(family, seed=3)
    preferences = [Preference.sample(0.5, seed=seed) for seed in range(3)]
    arm.set_preference(preferences)
    together = arm(IDS).logits
    for row, preference in enumerate(preferences):
        arm.set_preference(preference)
        torch.testing.assert_close(arm(IDS[row : row + 1]).logits[0], together[row], atol=1e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), r1=st.integers(0, 4), r2=st.integers(1, 4), family=st.sampled_from(["llama", "gpt2"])
)
def test_baked_is_an_ordinary_lora(tmp_path_factory, seed, r1, r2, family):
    directory = tmp_path_factory.mktemp("baked") / "lora"
    arm = random_arm(family, seed=seed, r1=r1, r2=r2, dtype=torch.float64)
    preference = Preference.sample(0.5, seed=seed)
    p = preference.tensor()
    arm.save_baked(directory, preference)
    loaded = PeftModel.from_pretrained(
        random_base(family, seed=seed, dtype=torch.float64), str(directory), autocast_adapter_dtype=False
    )
    assert isinstance(loaded.active_peft_config, LoraConfig)
    assert loaded.active_peft_config.r == r1 + r2
    loras = [module for module in loaded.modules() if isinstance(module, LoraLayer)]
    for layer, lora in zip(layers(arm), loras, strict=True):
        expected = dense_delta(layer, p)
        transposed = expected.T if family == "gpt2" else expected
        torch.testing.assert_close(layer.get_delta_weight("default", p), transposed, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(lora.get_delta_weight("default"), transposed, atol=1e-9, rtol=1e-9)


def test_a_baked_lora_answers_as_the_arm_in_fp32(tmp_path):
    arm = random_arm("llama", seed=5)
    arm.set_preference(Preference.sample(0.5, seed=5))
    arm.save_baked(tmp_path / "lora", Preference.sample(0.5, seed=5))
    lora = PeftModel.from_pretrained(random_base("llama", seed=5), str(tmp_path / "lora"))
    expected = arm(IDS).logits
    # Two layers deep, rounding grows with the logits; what is asked is that it stays rounding.
    assert (lora(IDS).logits - expected).abs().max() < 1e-4 * expected.abs().max()


def test_bake_refuses_to_overwrite(arm, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="exists already"):
        arm.save_baked(tmp_path / "there", Preference.uniform())


def test_gradients_match_autograd_through_the_dense_weight(base):
    arm = random_arm("llama", seed=4).train()
    p = torch.tensor([[0.6, 0.4, 0, 0, 0], [0, 0, 0.2, 0.3, 0.5]])
    layer = layers(arm)[0].double()
    layer.preference_state.set("default", p)
    torch.manual_seed(4)
    x = torch.randn(2, 4, layer.in_features, dtype=torch.float64, requires_grad=True)
    weights = [
        w["default"].requires_grad_() for w in (layer.pblora_A, layer.pblora_B, layer.pblora_W1, layer.pblora_W2)
    ]
    out = layer(x)
    probe = torch.randn_like(out)
    ours = torch.autograd.grad((out * probe).sum(), [x, *weights])
    A, B, W1, W2 = weights
    rows = []
    for row in range(2):
        core = torch.block_diag(W1, (p[row].double() @ W2).view(3, 3))
        rows.append(x[row] @ (layer.get_base_layer().weight + 8 / 3 * B @ core @ A).T)
    theirs = torch.autograd.grad((torch.stack(rows) * probe).sum(), [x, *weights])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


def test_untrained_it_is_the_base_and_its_parameters_are_counted(base):
    plain = random_base("llama", seed=7)
    expected = plain(IDS).logits
    arm = get_peft_model(plain, PBLoraConfig(r1=2, r2=3, target_modules=["q_proj"]))
    arm.set_preference(Preference.uniform())
    torch.testing.assert_close(arm(IDS).logits, expected, atol=0, rtol=0)
    trainable = sum(weight.numel() for weight in arm.parameters() if weight.requires_grad)
    assert trainable == 2 * (5 * 16 + 16 * 5 + 2 * 2 + 5 * 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    arm = random_arm("llama", seed=3)
    arm.set_preference(Preference.uniform())
    expected = arm(IDS).logits
    half = random_arm("llama", seed=3, dtype=dtype)
    half.set_preference(Preference.uniform())
    logits = half(IDS).logits
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float(), expected, atol=0.3, rtol=0.1)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        arm = random_arm("llama", seed=3).train()
        if checkpointing:
            arm.gradient_checkpointing_enable({"use_reentrant": False})
            arm.enable_input_require_grads()
        arm.set_preference([Preference.sample(seed=seed) for seed in range(3)])
        arm(IDS, use_cache=False).logits.square().mean().backward()
        gradients.append({n: w.grad for n, w in arm.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_setting_a_preference_touches_no_layer():
    arm = random_arm("llama", seed=3)
    states = {id(layer.preference_state) for layer in layers(arm)}
    assert len(states) == 1
    before = {name: (weight.data_ptr(), weight._version) for name, weight in arm.state_dict().items()}
    arm.set_preference(Preference.one_hot("empathy"))
    after = {name: (weight.data_ptr(), weight._version) for name, weight in arm.state_dict().items()}
    assert before == after


def test_randomise_reaches_every_adapter_weight():
    arm = get_peft_model(random_base("llama", seed=7), PBLoraConfig(target_modules=["q_proj"]))
    randomise(arm, 0)
    assert all(weight.abs().sum() > 0 for name, weight in arm.named_parameters() if "pblora_" in name)
