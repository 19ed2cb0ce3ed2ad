import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.models import VOCABULARY, random_arm, random_base, tiny_tokenizer

from hf_prosocial import (
    BaseMismatchError,
    GuidedModel,
    PBLoraConfig,
    Preference,
    ProSocialProcessor,
    SpeculativeGuidedModel,
    load_arm,
)
from hf_prosocial.arm import record_base
from hf_prosocial.models import BaseSource, find_base, tokenizer_hash, weight_hash, weight_hashes
from hf_prosocial.pblora.layer import PBLoraLayer

IDS = torch.randint(3, VOCABULARY, (2, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(saved_arm, tmp_path):
    """A copy of both directories that a test may change."""
    for path in saved_arm:
        shutil.copytree(path, tmp_path / path.name)
    config = json.loads((tmp_path / "arm" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "arm" / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def test_from_the_recorded_base(saved):
    arm = load_arm(saved / "arm")
    assert not arm.training
    assert not any(weight.requires_grad for weight in arm.parameters())
    arm.set_preference(Preference.uniform())
    expected = random_arm("llama", seed=2, base=random_base("llama", seed=1))
    expected.set_preference(Preference.uniform())
    with torch.no_grad():
        torch.testing.assert_close(arm(IDS).logits, expected(IDS).logits, atol=0, rtol=0)


def test_a_loaded_base_shares_its_memory_and_stays_as_it_is(saved):
    base = random_base("llama", seed=1)
    with torch.no_grad():
        expected = base(IDS).logits
    arm = load_arm(saved / "arm", base)
    assert not any(isinstance(module, PBLoraLayer) for module in base.modules())
    assert all(weight.requires_grad for weight in base.parameters())
    ours = {
        name.replace(".base_layer", ""): weight.data_ptr() for name, weight in arm.get_base_model().named_parameters()
    }
    assert all(ours[name] == weight.data_ptr() for name, weight in base.named_parameters())
    assert arm.get_base_model().lm_head.weight.data_ptr() == base.lm_head.weight.data_ptr()
    output = base.generate(IDS, logits_processor=[ProSocialProcessor(arm, Preference.uniform())], max_new_tokens=4)
    assert output.shape == (2, 12)
    with torch.no_grad():
        torch.testing.assert_close(base(IDS).logits, expected, atol=0, rtol=0)


def test_a_base_that_is_edited_after_loading_takes_the_arm_with_it_and_is_refused(saved):
    base = random_base("llama", seed=1)
    arm = load_arm(saved / "arm", base)
    processor = ProSocialProcessor(arm, Preference.uniform())
    guided = GuidedModel(base, arm, Preference.uniform())
    base.generate(IDS, logits_processor=[processor], max_new_tokens=2)
    guided.generate(IDS, max_new_tokens=2)
    with torch.no_grad():
        base.model.layers[0].mlp.up_proj.weight[0, 0] += 1.0
    for make in (
        lambda: ProSocialProcessor(arm, Preference.uniform()),
        lambda: GuidedModel(base, arm, Preference.uniform()),
        lambda: SpeculativeGuidedModel(base, arm, Preference.uniform()),
        lambda: base.generate(IDS, logits_processor=[processor], max_new_tokens=2),
        lambda: guided.generate(IDS, max_new_tokens=2),
    ):
        with pytest.raises(ValueError, match="written to after the ARM was loaded"):
            make()

    # Adapters may be trained on, and a base of its own may be edited.
    other = load_arm(saved / "arm", random_base("llama", seed=1))
    with torch.no_grad():
        next(weight for name, weight in other.named_parameters() if "pblora_B" in name).add_(1.0)
    base.generate(IDS, logits_processor=[ProSocialProcessor(other, Preference.uniform())], max_new_tokens=2)


def test_a_lora_that_is_merged_into_the_base_takes_the_arm_with_it_and_is_refused(saved):
    """PEFT merges by `.data`, which torch does not count as a write."""
    base = random_base("llama", seed=1)
    arm = load_arm(saved / "arm", base)
    processor = ProSocialProcessor(arm, Preference.uniform())
    base.generate(IDS, logits_processor=[processor], max_new_tokens=2)
    lora = get_peft_model(base, LoraConfig(r=2, target_modules=["up_proj"], init_lora_weights=False))
    merged = lora.merge_and_unload()
    for make in (
        lambda: merged.generate(IDS + 1, logits_processor=[processor], max_new_tokens=2),
        lambda: ProSocialProcessor(arm, Preference.uniform()),
    ):
        with pytest.raises(ValueError, match=r"written to after the ARM was loaded on them \(.*up_proj.weight"):
            make()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_dtype_afterwards_is_no_write(saved, dtype):
    arm = load_arm(saved / "arm", random_base("llama", seed=1)).to(dtype)
    ProSocialProcessor(arm, Preference.uniform())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_hashes_hold_in_other_dtypes(saved, dtype):
    assert load_arm(saved / "arm", saved / "base", dtype=dtype).dtype == dtype


def test_another_base_is_an_error_that_can_be_overruled_by_name(saved):
    other = random_base("llama", seed=9)
    with pytest.raises(
        BaseMismatchError, match=r"(?s)base_weights: the adapter was trained on .*allow_mismatch=\['base_weights'\]"
    ):
        load_arm(saved / "arm", other)
    load_arm(saved / "arm", other, allow_mismatch=["base_weights"])
    nudged = random_base("llama", seed=1)
    nudged.model.layers[1].mlp.up_proj.weight.data[0, 0] += 1e-4
    with pytest.raises(BaseMismatchError, match="base_weights"):
        load_arm(saved / "arm", nudged)
    with pytest.raises(BaseMismatchError, match=r"other weights than this base's"):
        load_arm(saved / "arm", random_base("llama", seed=9, dtype=torch.float64))
    load_arm(saved / "arm", random_base("llama", seed=1, dtype=torch.float64))
    config = json.loads((saved / "arm" / "adapter_config.json").read_text())
    (saved / "arm" / "adapter_config.json").write_text(json.dumps(config | {"base_sketch": None}))
    with pytest.raises(BaseMismatchError, match="the base is in float64"):
        load_arm(saved / "arm", random_base("llama", seed=1, dtype=torch.float64))


def test_another_tokenizer_or_template(saved):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<new>"])
    base = random_base("llama", seed=1)
    with pytest.raises(BaseMismatchError, match="tokenizer: trained with"):
        load_arm(saved / "arm", base, tokenizer=tokenizer)
    load_arm(saved / "arm", base, tokenizer=tokenizer, allow_mismatch=["tokenizer"])
    tokenizer = tiny_tokenizer()
    spelled = tokenizer.chat_template
    tokenizer.chat_template = "{# said the same #}" + spelled
    load_arm(saved / "arm", base, tokenizer=tokenizer)
    tokenizer.chat_template = spelled.replace("assistant", "user")
    with pytest.raises(BaseMismatchError, match=r"(?s)chat_template: .*allow_mismatch=\['chat_template'\]"):
        load_arm(saved / "arm", base, tokenizer=tokenizer)
    tokenizer.save_pretrained(saved / "base")
    with pytest.raises(BaseMismatchError, match="chat_template"):
        load_arm(saved / "arm")
    load_arm(saved / "arm", allow_mismatch=["chat_template"])


def test_bad_arguments(saved):
    with pytest.raises(ValueError, match=r"allow_mismatch may name .*found \['weights'\]"):
        load_arm(saved / "arm", allow_mismatch=["weights"])
    with pytest.raises(ValueError, match="move that one instead"):
        load_arm(saved / "arm", random_base("llama", seed=1), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="names its objectives"):
        load_arm(saved / "arm", objectives=["a", "b", "c", "d", "e"])


def test_other_adapters_are_refused(saved):
    arm = random_arm("llama", seed=2)
    arm.save_baked(saved / "lora", Preference.uniform())
    with pytest.raises(ValueError, match=r"holds a .*LORA adapter"):
        load_arm(saved / "lora", random_base("llama", seed=1))


def test_objectives_of_an_adapter_without_names_are_named_by_the_caller(saved):
    path = saved / "arm" / "adapter_config.json"
    config = json.loads(path.read_text())
    del config["objectives"]
    path.write_text(json.dumps(config))
    assert load_arm(saved / "arm").active_peft_config.objectives == tuple(f"objective_{i}" for i in range(5))
    named = load_arm(saved / "arm", objectives=["a", "b", "c", "d", "e"])
    named.set_preference(Preference.one_hot("c", objectives=list("abcde")))
    with pytest.raises(ValueError, match="obj_num is 5, but 2 objectives are named"):
        load_arm(saved / "arm", objectives=["a", "b"])


def test_an_adapter_that_records_no_base(tmp_path):
    arm = random_arm("llama", seed=2)
    arm.save_pretrained(tmp_path / "arm")
    with pytest.raises(ValueError, match="records no base; pass base="):
        load_arm(tmp_path / "arm")


def test_hashes_see_the_base_through_its_adapters(tokenizer):
    base = random_base("llama", seed=1)
    expected = weight_hashes(base)
    assert len(set(expected.values())) == 3
    arm = random_arm("llama", seed=2, base=base)
    assert weight_hashes(arm) == expected
    assert weight_hash(base.to(torch.bfloat16), torch.bfloat16) == expected["bfloat16"]
    config = PBLoraConfig()
    record_base(config, arm, tokenizer)
    assert config.tokenizer_hash == tokenizer_hash(tiny_tokenizer())
    assert config.chat_template == tokenizer.chat_template


def test_subfolder_token_and_the_recorded_revision_reach_the_base(saved, monkeypatch):
    (saved / "repository").mkdir()
    (saved / "arm").rename(saved / "repository" / "nested")
    file = saved / "repository" / "nested" / "adapter_config.json"
    config = json.loads(file.read_text())
    recorded = config | {"base_model_name_or_path": "org/base", "revision": "abc123"}
    file.write_text(json.dumps(recorded))
    asked = []

    def loaded(kind, location, **options):
        asked.append((kind.__name__, location, options.get("revision"), options.get("token")))
        return kind.from_pretrained(
            saved / "base", **{n: v for n, v in options.items() if n not in ("revision", "token")}
        )

    monkeypatch.setattr(
        BaseSource, "_from", lambda self, kind, **options: loaded(kind, self.location, **options, **self._hub())
    )
    load_arm(saved / "repository", subfolder="nested", token="hf_x")
    assert asked == [(kind, "org/base", "abc123", "hf_x") for kind in ("AutoModelForCausalLM", "AutoTokenizer")]
    asked.clear()
    load_arm(saved / "repository", "org/other", subfolder="nested", token="hf_x")
    assert {(location, revision) for _, location, revision, _ in asked} == {("org/other", None)}
    assert "hf_x" not in repr(find_base("org/base", token="hf_x"))


def test_a_frozen_arm_stays_frozen(saved):
    arm = load_arm(saved / "arm", random_base("llama", seed=1))
    with arm.disable_adapter():
        assert not any(weight.requires_grad for weight in arm.parameters())
    arm.base_model.disable_adapter_layers()
    arm.base_model.enable_adapter_layers()
    assert not any(weight.requires_grad for weight in arm.parameters())
    arm.set_adapter("default")
    assert all(weight.requires_grad for name, weight in arm.named_parameters() if "pblora_" in name)
    with arm.disable_adapter():
        pass
    assert all(weight.requires_grad for name, weight in arm.named_parameters() if "pblora_" in name)
