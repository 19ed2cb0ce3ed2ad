"""What a recipe may say of the base's dtype and of the modules to adapt."""

import json

import pytest
from peft import get_peft_model
from support.models import random_base
from support.rows import rows

from hf_prosocial import OBJECTIVES
from hf_prosocial.arm.recipe import read_material
from hf_prosocial.arm.run import ArmRecipe
from hf_prosocial.io import parse_fields
from hf_prosocial.pblora.layer import PBLoraLayer


def parsed(tmp_path, *options, file=""):
    (tmp_path / "recipe.yaml").write_text(f"train_data: pairs.jsonl\n{file}")
    return parse_fields(["--config", str(tmp_path / "recipe.yaml"), *options], ArmRecipe)


def test_all_linear(tmp_path):
    ways = [parsed(tmp_path, "--target_modules", "all-linear"), parsed(tmp_path, file="target_modules: all-linear\n")]
    ways.append(parsed(tmp_path, file="target_modules: [all-linear]\n"))
    for recipe in ways:
        arm = get_peft_model(random_base("llama", seed=1), recipe.adapter())
        adapted = {name.rpartition(".")[2] for name, module in arm.named_modules() if isinstance(module, PBLoraLayer)}
        linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        assert adapted == linear  # and not the output layer
    assert parsed(tmp_path, "--target_modules", "q_proj", "v_proj").targets == ["q_proj", "v_proj"]
    assert parsed(tmp_path).targets is None


def test_dtypes_by_both_names(tmp_path):
    assert parsed(tmp_path, "--base_dtype", "bf16").base_dtype == "bf16"
    assert parsed(tmp_path, file="base_dtype: bfloat16\n").base_dtype == "bfloat16"
    with pytest.raises(ValueError, match="the options: base_dtype: Input should be 'auto', 'bfloat16', 'bf16'"):
        parsed(tmp_path, "--base_dtype", "int8")


@pytest.mark.parametrize("lacking", ["train", "dev"])
def test_an_objective_without_pairs_is_named_before_the_training(tmp_path, tokenizer, lacking):
    random_base("llama", seed=1).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    for file in ("train", "dev"):
        found = rows(OBJECTIVES[:4] if file == lacking else OBJECTIVES, 10)
        (tmp_path / f"{file}.jsonl").write_text("\n".join(json.dumps(row) for row in found))
    files = {"train_data": str(tmp_path / "train.jsonl"), "dev_data": str(tmp_path / "dev.jsonl")}
    recipe = ArmRecipe(base=str(tmp_path / "base"), **files)
    with pytest.raises(ValueError, match=rf"{lacking}\.jsonl has no pair of helpfulness"):
        read_material(recipe)
