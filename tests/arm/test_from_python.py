"""An ARM that was trained from Python is published, loaded and checked as one that the command trained."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import get_peft_model
from support.models import random_base
from support.rows import rows
from support.training import training_arguments

from hf_prosocial import (
    OBJECTIVES,
    ArmTrainer,
    PBLoraConfig,
    Preference,
    ProSocialProcessor,
    load_arm,
    read_pairs,
    record_base,
)
from hf_prosocial.arm import measure_margins, measure_on_dev
from hf_prosocial.hub import Reproduction, render
from hf_prosocial.records import TrainingRecord


@pytest.fixture
def trained(tmp_path, saved_arm, tokenizer):
    """The directory that `save_model` wrote, of a base in a directory."""
    base = saved_arm[0]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(OBJECTIVES, 20)))
    pairs = read_pairs(tmp_path / "pairs.jsonl", tokenizer, OBJECTIVES, max_length=80)
    model = random_base("llama", seed=1)
    config = PBLoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    record_base(config, model, tokenizer)
    arm = get_peft_model(model, config)
    config.base_model_name_or_path = str(base)
    trainer = ArmTrainer(arm, training_arguments(tmp_path / "arm", max_steps=2), pairs, tokenizer)
    trainer.train()
    trainer.save_model()
    measure_on_dev(tmp_path / "arm", measure_margins(arm.eval(), pairs, pad_token_id=tokenizer.pad_token_id))
    return tmp_path / "arm"


def test_its_record_says_what_the_commands_says(trained, saved_arm):
    record = TrainingRecord.read(trained / "training.json")
    assert record.command is None
    assert record.recipe["base"] == str(saved_arm[0])
    assert record.recipe["target_modules"] == ["q_proj", "v_proj"]
    assert record.dev is not None
    assert (trained / "training-curves.png").is_file()


def test_it_is_published_loaded_and_checked(trained, saved_arm, tokenizer, tmp_path):
    options = {"base_model": "org/base", "licence": "apache-2.0", "custom_generate": True}
    render(trained, tmp_path / "page", "org/arm", **options)
    card = ModelCard.load(tmp_path / "page" / "README.md")
    assert 'load_arm("org/arm"' in card.text
    assert '"custom_generate": "org/arm"' in card.text
    assert "custom_generate" in card.data.tags
    assert 'arm="org/arm"' in (tmp_path / "page" / "custom_generate" / "generate.py").read_text()
    base = random_base("llama", seed=1)
    arm = load_arm(trained, base, tokenizer=tokenizer)
    processor = ProSocialProcessor(arm, Preference.uniform(), tokenizer=tokenizer)
    ids = torch.tensor([[5, 6, 7]])
    with processor.must_guide():
        base.generate(ids, logits_processor=[processor], max_new_tokens=2)
    comparisons = Reproduction(tmp_path / "page" / "prosocial.json", base=str(saved_arm[0])).check()
    assert {one.what for one in comparisons if one.holds}
    beside = Path(trained) / "prosocial.json"
    beside.write_text((tmp_path / "page" / "prosocial.json").read_text())
    comparisons = Reproduction(beside, base=str(saved_arm[0])).check()
    assert comparisons
    assert all(one.holds for one in comparisons), comparisons
