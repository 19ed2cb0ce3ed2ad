"""PBLoRA does what users of PEFT and transformers expect of any adapter."""

import copy
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils.hotswap import hotswap_adapter
from safetensors.torch import load_file, save_file
from support.models import VOCABULARY, random_arm, random_base
from torch import nn

from hf_prosocial import PBLoraConfig, Preference
from hf_prosocial.pblora.layer import PBLoraLayer
from hf_prosocial.pblora.model import set_preference

IDS = torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
PREFERENCE = Preference(empathy=0.25, truthfulness=0.75)


def logits(model, preference=PREFERENCE):
    model.set_preference(preference)
    with torch.no_grad():
        return model(IDS).logits


def test_save_and_load(family, tmp_path):
    arm = random_arm(family, seed=3)
    expected = logits(arm)
    arm.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(random_base(family, seed=3), str(tmp_path))
    assert again.active_peft_config.objectives == arm.active_peft_config.objectives
    torch.testing.assert_close(logits(again), expected, atol=0, rtol=0)


def test_saved_layout_is_that_of_parm(tmp_path):
    random_arm("llama", seed=3, r1=2, r2=3).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {name: config[name] for name in ("peft_type", "r1", "r2", "obj_num", "lora_alpha")} == {
        "peft_type": "PBLORA",
        "r1": 2,
        "r2": 3,
        "obj_num": 5,
        "lora_alpha": 8,
    }
    shapes = {name: tuple(weight.shape) for name, weight in load_file(tmp_path / "adapter_model.safetensors").items()}
    stem = "base_model.model.model.layers.0.self_attn.q_proj.pblora_"
    assert [shapes[stem + name] for name in ("A", "B", "W1", "W2")] == [(5, 16), (16, 5), (2, 2), (5, 9)]
    assert len(shapes) == 2 * 3 * 4


def parm_directory(path, keys):
    """An adapter as PARM's own code writes it: its keys, its names, an unused vector beside."""
    generator = torch.Generator().manual_seed(9)
    state = {}
    for layer in range(2):
        for name, out in (("q_proj", 16), ("v_proj", 8)):
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}."
            shapes = {"pblora_A": (8, 16), "pblora_B": (out, 8), "pblora_W1": (4, 4), "pblora_W2": (2, 16)}
            for weight, shape in shapes.items():
                state[stem + weight] = torch.randn(shape, generator=generator) * 0.3
    save_file(state, path / "adapter_model.safetensors")
    config = {
        "peft_type": "PBLORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "somewhere/else",
        "r1": 4,
        "r2": 4,
        "obj_num": 2,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "modules_to_save": None,
        "inference_mode": True,
        "revision": None,
        "auto_mapping": None,
        "pref_vec_init": None,
    }
    (path / "adapter_config.json").write_text(json.dumps(config | keys))
    return state


def test_a_parm_adapter_loads_unchanged(tmp_path):
    state = parm_directory(tmp_path, {})
    base = random_base("llama", seed=3)
    plain = copy.deepcopy(base)
    arm = PeftModel.from_pretrained(base, str(tmp_path))
    assert arm.active_peft_config.objectives == ("objective_0", "objective_1")
    got = logits(arm, Preference(objective_0=0.3, objective_1=0.7, objectives=("objective_0", "objective_1")))
    # The oracle: PARM's ΔW, dense, added to the base's weights.
    for name, module in plain.named_modules():
        stem = f"base_model.model.{name}."
        if stem + "pblora_A" in state:
            A, B, W1, W2 = (state[stem + f"pblora_{part}"] for part in ("A", "B", "W1", "W2"))
            mixed = (torch.tensor([0.3, 0.7]) @ W2).view(4, 4)
            module.weight.data += 2 * (B[:, :4] @ W1 @ A[:4] + B[:, 4:] @ mixed @ A[4:])
    with torch.no_grad():
        torch.testing.assert_close(got, plain(IDS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("keys", [{"bias": "all"}, {"modules_to_save": ["lm_head"]}])
def test_parm_keys_that_cannot_be_honoured_are_refused(tmp_path, keys):
    parm_directory(tmp_path, keys)
    with pytest.raises(ValueError, match=f"{next(iter(keys))}=.*is not supported"):
        PeftConfig.from_pretrained(str(tmp_path))


def test_transformers_load_adapter(tmp_path):
    arm = random_arm("llama", seed=3)
    expected = logits(arm)
    arm.save_pretrained(tmp_path)
    model = random_base("llama", seed=3)
    model.load_adapter(str(tmp_path), adapter_name="kind")
    set_preference(model, PREFERENCE, "kind")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, expected, atol=0, rtol=0)
    with pytest.raises(ValueError, match="no PBLoRA adapter 'other'"):
        set_preference(model, PREFERENCE, "other")


def test_two_adapters_each_with_its_preference():
    arm = random_arm("llama", seed=3)
    first = logits(arm)
    arm.add_adapter("second", PBLoraConfig(objectives=("wit", "calm"), target_modules=["q_proj"]))
    arm.set_adapter("second")
    for name, weight in arm.named_parameters():
        if "pblora_B.second" in name:
            nn.init.normal_(weight)
    with pytest.raises(RuntimeError, match="no preference is set for the PBLoRA adapter 'second'"):
        arm(IDS)
    second = logits(arm, Preference.one_hot("wit", objectives=("wit", "calm")))
    assert not torch.allclose(first, second)
    arm.set_adapter("default")
    with torch.no_grad():
        torch.testing.assert_close(arm(IDS).logits, first, atol=0, rtol=0)
    arm.delete_adapter("second")
    torch.testing.assert_close(logits(arm), first, atol=0, rtol=0)


def test_disable_adapter_is_the_base():
    base = random_base("llama", seed=3)
    with torch.no_grad():
        expected = base(IDS).logits
        arm = random_arm("llama", seed=3, base=base)
        with arm.disable_adapter():
            torch.testing.assert_close(arm(IDS).logits, expected, atol=0, rtol=0)
        assert not torch.allclose(logits(arm), expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_merge(family):
    arm = random_arm(family, seed=3)
    expected = logits(arm)
    merged = arm.merge_and_unload(preference=PREFERENCE, safe_merge=True)
    assert not any(isinstance(module, PBLoraLayer) for module in merged.modules())
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS).logits, expected, atol=1e-4, rtol=1e-4)


def test_merge_needs_a_preference_and_can_be_undone():
    arm = random_arm("llama", seed=3)
    expected = logits(arm)
    for merge in (arm.merge_and_unload, arm.merge_adapter):
        with pytest.raises(ValueError, match="merging fixes one preference"):
            merge()
    arm.merge_adapter(preference=PREFERENCE)
    with torch.no_grad():
        torch.testing.assert_close(arm(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(RuntimeError, match="is merged into the base weights"):
        arm.set_preference(Preference.uniform())
    arm.unmerge_adapter()
    torch.testing.assert_close(logits(arm), expected, atol=1e-4, rtol=1e-4)


def test_safe_merge_of_a_broken_adapter_leaves_the_base():
    arm = random_arm("llama", seed=3)
    layer = next(module for module in arm.modules() if isinstance(module, PBLoraLayer))
    before = layer.get_base_layer().weight.clone()
    layer.pblora_A["default"].data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        arm.merge_and_unload(preference=PREFERENCE, safe_merge=True)
    assert torch.equal(layer.get_base_layer().weight, before)


def test_loud_errors():
    arm = random_arm("llama", seed=3)
    with pytest.raises(RuntimeError, match="no preference is set"):
        arm(IDS)
    arm.set_preference([PREFERENCE] * 2)
    with pytest.raises(ValueError, match=r"2 rows have a preference each, but .* shape \(3, 9, 16\)"):
        arm(IDS)
    with pytest.raises(ValueError, match=r"shape \(5,\) or \(rows, 5\), found \(4,\)"):
        arm.set_preference(torch.full((4,), 0.25))
    with pytest.raises(ValueError, match="must sum to 1"):
        arm.set_preference(torch.ones(5))
    with pytest.raises(ValueError, match="an empty sequence"):
        arm.set_preference([])
    with pytest.raises(ValueError, match=r"weighs \{'wit': 1\.0\}"):
        arm.set_preference(Preference.one_hot("wit", objectives=("wit",)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"r2": 0}, "r2 must be a whole number >= 1, found 0"),
        ({"r1": -1}, "r1 must be a whole number >= 0, found -1"),
        ({"lora_alpha": 0}, "lora_alpha must be a number above 0"),
        ({"lora_alpha": float("inf")}, "lora_alpha must be a number above 0, found inf"),
        ({"lora_dropout": 1.0}, r"lora_dropout must be a number in \[0, 1\)"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\] is not supported by PBLoRA"),
        ({"bias": "all"}, "bias='all' is not supported by PBLoRA; it must be 'none'"),
        ({"task_type": "SEQ_CLS"}, "task_type='SEQ_CLS' is not supported by PBLoRA"),
        ({"objectives": ("a", "b"), "obj_num": 3}, "obj_num is 3, but 2 objectives are named"),
        ({"objectives": ("a", "a")}, "must differ"),
    ],
)
def test_configurations_that_make_no_adapter(keys, message):
    with pytest.raises(ValueError, match=message):
        PBLoraConfig(**keys)


class Quantised(nn.Linear):
    """Stands for the Linear of a quantisation library: a subclass with weights of its own kind."""


def test_other_layers_are_refused():
    base = random_base("llama", seed=3)
    base.model.layers[0].self_attn.q_proj = Quantised(16, 16, bias=False)
    with pytest.raises(ValueError, match=r"found Quantised .*load the model without quantisation"):
        get_peft_model(base, PBLoraConfig(target_modules=["q_proj"]))


def test_rows_of_a_mixture_cannot_have_preferences_of_their_own():
    layer = next(m for m in random_arm("llama", seed=3).modules() if isinstance(m, PBLoraLayer))
    layer.preference_state.set("default", torch.eye(5)[:3])
    with pytest.raises(ValueError, match="experts of a mixture"):
        layer(torch.randn(3, 16))


def test_push_to_hub_sends_what_loads_again(monkeypatch, tmp_path):
    sent = {}

    def create_commit(self, repo_id, operations, **options):
        for operation in operations:
            sent[operation.path_in_repo] = Path(operation.path_or_fileobj).read_bytes()

    monkeypatch.setattr(HfApi, "create_repo", lambda self, repo_id, **options: SimpleNamespace(repo_id=repo_id))
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: ModelCard("---\n---\n"))
    arm = random_arm("llama", seed=3)
    expected = logits(arm)
    arm.push_to_hub("org/name")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= sent.keys()
    for name, content in sent.items():
        (tmp_path / name).write_bytes(content)
    again = PeftModel.from_pretrained(random_base("llama", seed=3), str(tmp_path))
    torch.testing.assert_close(logits(again), expected, atol=0, rtol=0)


def test_merging_into_a_tied_output_layer_is_refused():
    base = random_base("gemma3", seed=1)
    base.tie_weights()
    assert base.lm_head.weight is base.get_input_embeddings().weight
    with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
        arm = get_peft_model(base, PBLoraConfig(target_modules=["q_proj", "lm_head"]))
    for merge in (arm.merge_and_unload, arm.merge_adapter):
        with pytest.raises(ValueError, match=r"weight of lm_head is that of model\.embed_tokens too \(tied\)"):
            merge(preference=PREFERENCE)


def test_an_adapter_a_row_is_refused():
    """PEFT drops adapter_names where a tuner does not take it, and every row would have the active adapter."""
    arm, ids = random_arm("llama", seed=3), torch.tensor([[5, 6, 7], [6, 7, 8]])
    arm.set_preference(PREFERENCE)
    mixed = {"input_ids": ids, "adapter_names": ["default", "__base__"]}
    for use in (arm, partial(arm.generate, max_new_tokens=2)):
        with pytest.raises(ValueError, match="adapter_names chooses an adapter for each row"):
            use(**mixed)
        with arm.disable_adapter():
            use(**mixed)
    arm(input_ids=ids, adapter_names=None)


def test_ways_of_peft_that_pblora_does_not_know(tmp_path):
    arm = random_arm("llama", seed=3)
    with pytest.raises(ValueError, match="cannot be added with weights"):
        arm.add_weighted_adapter(["default"], [1.0], "sum", combination_type="linear")
    arm.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Hotswapping only supports LORA"):
        hotswap_adapter(arm, str(tmp_path), adapter_name="default")


def test_loading_without_memory_for_random_weights(tmp_path):
    arm = random_arm("llama", seed=3)
    arm.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(random_base("llama", seed=3), str(tmp_path), low_cpu_mem_usage=True)
    torch.testing.assert_close(logits(again), logits(arm), atol=0, rtol=0)
