"""`generate(custom_generate=...)` gives what ProSocialProcessor gives, without this package; or says why not."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from support.generation import MODES, prompts
from support.models import PAD, random_base
from transformers import AutoModelForCausalLM, BartConfig, BartForConditionalGeneration, GenerationConfig

from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.hub.custom_generate import write_custom_generate

PREFERENCE = {"empathy": 0.5, "helpfulness": 0.3, "truthfulness": 0.2}


@pytest.fixture(scope="module")
def published(saved_arm, tmp_path_factory):
    """A base, and the folder of a repository that guides it."""
    base, arm = saved_arm
    folder = tmp_path_factory.mktemp("published") / "arm"
    shutil.copytree(arm, folder)
    write_custom_generate(folder, "org/arm", json.loads((arm / "adapter_config.json").read_text()))
    return AutoModelForCausalLM.from_pretrained(base), folder


def alone(published, inputs, preference=PREFERENCE, **options):
    base, folder = published
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": PAD, **options}
    own = {"custom_generate": str(folder), "trust_remote_code": True, "arm": str(folder)}
    torch.manual_seed(0)
    return base.generate(**inputs, preference=preference, **own, **options)


def by_processor(published, inputs, **options):
    base, folder = published
    beta = options.pop("beta", 1.0)
    processor = ProSocialProcessor(load_arm(folder, base), Preference.from_dict(PREFERENCE), beta=beta)
    torch.manual_seed(0)
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "pad_token_id": PAD, **options}
    return base.generate(**inputs, logits_processor=[processor], **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [1, 3])
def test_it_gives_the_processors_tokens(published, mode, rows):
    inputs, options = prompts(rows=rows), dict(MODES[mode])
    ours, theirs = (one(published, inputs, beta=1.3, **options) for one in (alone, by_processor))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, alone(published, inputs, beta=0, **options))


def test_several_preferences_in_turn_and_none_stays(published):
    base, _ = published
    inputs = prompts(rows=1)
    first = alone(published, inputs, {"empathy": 1}, do_sample=False, beta=3)
    other = alone(published, inputs, {"truthfulness": 1}, do_sample=False, beta=3)
    assert not torch.equal(first, other)
    assert torch.equal(first, alone(published, inputs, {"empathy": 1}, do_sample=False, beta=3))
    fresh = AutoModelForCausalLM.from_pretrained(base.config._name_or_path)
    assert torch.equal(base(inputs["input_ids"]).logits, fresh(inputs["input_ids"]).logits)


def test_they_may_stand_in_the_generation_config(published):
    inputs = prompts(rows=1)
    config = GenerationConfig(do_sample=False, preference=PREFERENCE, beta=2.0)
    found = alone(published, inputs, None, generation_config=config)
    assert torch.equal(found, alone(published, inputs, beta=2.0, do_sample=False))


def test_where_nobody_is_guided_unasked_a_preference_is_guidance_at_1(published, tmp_path):
    base, arm = published
    folder = tmp_path / "served"
    shutil.copytree(arm, folder, ignore=shutil.ignore_patterns("custom_generate"))
    config = json.loads((arm / "adapter_config.json").read_text())
    write_custom_generate(folder, str(folder), config, preference={"empathy": 1.0}, beta=0.0)
    inputs, options = prompts(rows=1), {"do_sample": False}
    plain = base.generate(**inputs, max_new_tokens=8, min_new_tokens=8, pad_token_id=PAD, **options)
    served = base, folder
    assert torch.equal(alone(served, inputs, None, **options), plain)
    assert torch.equal(alone(served, inputs, **options), alone(published, inputs, beta=1.0, **options))
    assert torch.equal(alone(served, inputs, beta=0, **options), plain)
    assert not torch.equal(alone(served, inputs, **options), plain)


def test_torch_and_transformers_are_enough(published):
    base, folder = published
    code = (
        "import sys, torch\n"
        "sys.modules['peft'] = sys.modules['hf_prosocial'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "options = {'custom_generate': sys.argv[2], 'trust_remote_code': True, 'arm': sys.argv[2], 'pad_token_id': 0}\n"
        "ids = torch.tensor([[1, 9, 8, 7]])\n"
        "print(model.generate(ids, preference={'empathy': 1}, max_new_tokens=6, do_sample=False, **options).tolist())\n"
    )
    command = [sys.executable, "-c", code, base.config._name_or_path, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    inputs = {"input_ids": torch.tensor([[1, 9, 8, 7]])}
    options = {"max_new_tokens": 6, "min_new_tokens": 0, "do_sample": False}
    assert json.loads(ran.stdout) == alone(published, inputs, {"empathy": 1}, **options).tolist()


def test_what_would_be_guided_wrongly_is_refused(published, saved_arm):
    inputs = prompts(rows=2)
    for bad, said in (
        ({"empathy": 0.5}, "that sum to 1"),
        ({"wit": 1.0}, "weighs some of"),
        ({"empathy": 2.0, "helpfulness": -1.0}, "numbers >= 0"),
        ({"empathy": float("nan")}, "that sum to 1"),
        ("empathy=1", "give preference="),
        (None, "give preference="),
    ):
        with pytest.raises(ValueError, match=said):
            alone(published, inputs, bad)
    for beta in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta >= 0"):
            alone(published, inputs, beta=beta)
    with pytest.raises(ValueError, match="give the attention_mask"):
        alone(published, {"input_ids": inputs["input_ids"]})
    with pytest.raises(ValueError, match="padded on the left"):
        alone(published, {name: values.flip(1) for name, values in inputs.items()})
    with pytest.raises(ValueError, match="takes no assistant_model"):
        alone(published, prompts(rows=1), prompt_lookup_num_tokens=3)
    with pytest.raises(ValueError, match="guides another model: sampled weights"):
        alone((random_base("llama", seed=7), published[1]), inputs)
    with pytest.raises(ValueError, match="guides another model: this one has no"):
        alone((random_base("gpt2", seed=7), published[1]), inputs)
    bart = BartForConditionalGeneration(
        BartConfig(vocab_size=61, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8)
    )
    with pytest.raises(ValueError, match="a decoder-only model"):
        alone((bart, published[1]), inputs)


def test_an_adapter_that_records_too_little_is_not_published_so(tmp_path):
    with pytest.raises(
        ValueError, match="weighs by base_sketch and objectives, which the adapter's configuration lacks"
    ):
        write_custom_generate(tmp_path, "org/arm", {})


def test_it_is_short_and_stands_alone(published):
    source = (published[1] / "custom_generate" / "generate.py").read_text()
    assert len(source.splitlines()) < 150
    assert "@ARM@" not in source
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))
    }
    assert imported - set(sys.stdlib_module_names) == {"torch", "safetensors", "transformers"}
