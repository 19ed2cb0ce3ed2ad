"""On an accelerator everything is what it is on the processor; skipped where there is none."""

import json
import warnings

import pytest
import torch
from support.genarm_models import NAMES, random_genarm
from support.generation import prompts
from support.models import FAMILIES, random_arm, random_base
from support.rows import rows
from support.small_evaluation import write_capability, write_config
from support.training import training_arguments
from transformers import set_seed
from typer.testing import CliRunner

from hf_prosocial import (
    OBJECTIVES,
    ArmTrainer,
    GuidedModel,
    Preference,
    ProSocialProcessor,
    SpeculativeGuidedModel,
    load_arm,
)
from hf_prosocial.cli import app
from hf_prosocial.data import tokenize_rows
from hf_prosocial.decoding import GuidedPair
from hf_prosocial.direg import HarmVector, write_text_gradient
from hf_prosocial.evaluation import evaluate, read_config
from hf_prosocial.genarm import GenArmProcessor, GuidedByGenArm
from hf_prosocial.models import preferred_device, sharing_weights

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
PREFERENCES = [Preference.one_hot("empathy"), Preference(empathy=0.7, truthfulness=0.3), Preference.uniform()]
PLACES = ("cpu", preferred_device())


def generate(model, processors=(), rows=3, **options):
    inputs = {name: values.to(model.device) for name, values in prompts(rows=rows).items()}
    with torch.no_grad():
        return model.generate(
            **inputs,
            logits_processor=list(processors),
            max_new_tokens=12,
            return_dict_in_generate=True,
            output_scores=True,
            **({"do_sample": False} | options),
        )


def assert_same(one, other):
    assert one.sequences.tolist() == other.sequences.tolist()
    for ours, theirs in zip(one.scores, other.scores, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs.cpu(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"num_beams": 4}])
def test_guided_text_of_every_family(family, options):
    found = []
    for place in PLACES:
        base, arm = random_base(family, seed=1).to(place), random_arm(family, seed=2).to(place)
        found.append(generate(base, [ProSocialProcessor(arm, PREFERENCES, beta=1.4, safe_set=0.01)], **options))
    assert_same(*found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"num_beams": 4}])
def test_base_and_guide_in_one_pass(family, options):
    found = []
    for place in PLACES:
        base = random_base(family, seed=1).to(place)
        arm = random_arm(family, seed=2, base=sharing_weights(base))
        found.append(generate(GuidedModel(base, arm, PREFERENCES, beta=1.4), **options))
    assert_same(*found)


@pytest.mark.parametrize("places", [("cpu", preferred_device()), (preferred_device(), "cpu")])
def test_a_base_and_a_guide_in_two_places(places):
    base, arm = random_base("llama", seed=1), random_arm("llama", seed=2)
    expected = generate(base, [ProSocialProcessor(arm, PREFERENCES)])
    base, arm = base.to(places[0]), arm.to(places[1])
    assert_same(generate(base, [ProSocialProcessor(arm, PREFERENCES)]), expected)
    ids = prompts(rows=1)["input_ids"]
    genarm, mixed = random_genarm("llama", seed=3), Preference.uniform(objectives=NAMES)
    with torch.no_grad():
        genarm.model.to(places[1])
        apart = [GuidedPair(base, arm, PREFERENCES[1])(ids.to(places[0])), GuidedByGenArm(base, genarm, mixed)(ids)]
        genarm.model.cpu()
        together = [GuidedPair(base.cpu(), arm.cpu(), PREFERENCES[1])(ids), GuidedByGenArm(base, genarm, mixed)(ids)]
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one.logits.cpu(), other.logits, atol=1e-3, rtol=1e-3)


def test_a_static_cache_with_a_processor():
    base, arm = random_base("llama", seed=1).to(preferred_device()), random_arm("llama", seed=2).to(preferred_device())
    found = generate(base, [ProSocialProcessor(arm, PREFERENCES)], cache_implementation="static")
    assert_same(found, generate(base, [ProSocialProcessor(arm, PREFERENCES)]))


def test_drafts_and_genarm():
    found = []
    for place in PLACES:
        base = random_base("llama", seed=1).to(place)
        arm = random_arm("qwen2", seed=2).to(place)
        genarm = random_genarm("llama", seed=3)
        genarm.model.to(place)
        mixed = Preference.uniform(objectives=NAMES)
        ids = prompts(rows=2)["input_ids"].to(place)
        with torch.no_grad():
            likelihoods = GuidedByGenArm(base, genarm, mixed)(ids).logits.cpu()
        drafted = generate(SpeculativeGuidedModel(base, arm, PREFERENCES[1]), rows=1)
        found.append((drafted, generate(base, [GenArmProcessor(genarm, mixed)]), likelihoods))
    for ours, theirs in zip(*found, strict=True):
        if torch.is_tensor(ours):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
        else:
            assert_same(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"conflict": "pcgrad"},
        {"conflict": "pcgrad", "dropout": 0.3, "gradient_checkpointing": True},
        {"conflict": "none", "preference_contrast": 1.0, "relative_to_base": True, "rpo_alpha": 0.5},
    ],
)
def test_training(tokenizer, tmp_path, options):
    pairs = tokenize_rows(rows(OBJECTIVES, 20), tokenizer, OBJECTIVES, max_length=80)
    options = {"optim": "sgd", "learning_rate": 1e-2, "max_steps": 3, "lr_scheduler_type": "constant"} | options
    dropout = options.pop("dropout", 0.0)
    found = []
    for use_cpu in (True, False):
        set_seed(0)
        arm = random_arm("llama", seed=2, dropout=dropout)
        args = training_arguments(tmp_path, use_cpu=use_cpu, **options)
        ArmTrainer(arm, args, pairs, tokenizer).train()
        assert arm.device.type == ("cpu" if use_cpu else preferred_device().type)
        found.append({name: weight.detach().cpu() for name, weight in arm.named_parameters() if weight.requires_grad})
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_edit_is_the_same_to_the_bit(tmp_path, dtype):
    base, harmful = random_base("llama", seed=1, dtype=dtype), random_base("llama", seed=4, dtype=dtype)
    for name, model in (("base", base), ("harmful", harmful)):
        model.save_pretrained(tmp_path / name)
    vector = HarmVector.extract(tmp_path / "base", tmp_path / "harmful", 0.3, out=tmp_path / "v.safetensors")
    edited = random_base("llama", seed=1, dtype=dtype).to(preferred_device())
    for model in (base, edited):
        vector.subtract_from(model, 0.7)
    for name, weight in base.state_dict().items():
        assert torch.equal(weight, edited.state_dict()[name].cpu()), name


def test_a_loaded_arm_shares_the_bases_memory(saved_arm, tokenizer):
    base = random_base("llama", seed=1).to(preferred_device())
    arm = load_arm(saved_arm[1], base, tokenizer=tokenizer)
    assert arm.device.type == preferred_device().type
    theirs = {weight.data_ptr() for weight in arm.parameters()}
    assert all(weight.data_ptr() in theirs for weight in base.parameters())


def test_evaluation_and_commands_run_there(tmp_path, saved_arm, monkeypatch):
    path = write_config(tmp_path, saved_arm, capability=write_capability(tmp_path))
    found = []
    for device in PLACES:
        for module in ("variants", "judges.embedded", "scoring"):
            monkeypatch.setattr(f"hf_prosocial.evaluation.{module}.preferred_device", lambda device=device: device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(evaluate(read_config(path), tmp_path / str(device)))
    replies = [
        [json.loads(line)["reply"] for line in file.read_text().splitlines()[1:]]
        for device in PLACES
        for file in sorted((tmp_path / str(device) / "replies").rglob("*.jsonl"))
    ]
    half = len(replies) // 2
    assert replies[:half] == replies[half:]
    for variant in ("base", "guided"):
        ours, theirs = (one["capability"][variant]["perplexity"]["mean"] for one in found)
        assert ours == pytest.approx(theirs, rel=1e-3)
    base, arm = (str(folder) for folder in saved_arm)
    shown = CliRunner().invoke(app, ["generate", "help me", "--base", base, "--arm", arm, "--max-new-tokens", "4"])
    assert shown.exit_code == 0, shown.output
    (tmp_path / "text.txt").write_text("i lost my cat. " * 40)
    write_text_gradient(saved_arm[0], tmp_path / "text.txt", tmp_path / "gradient.safetensors", window=16)
