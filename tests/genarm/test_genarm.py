"""The baseline: each adapter is trained as if alone, decoding mixes log-probabilities, and margins are their sums."""

import json

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from support.genarm_models import NAMES, lora, random_genarm
from support.generation import MODES, assert_same, generate, prompts
from support.models import FAMILIES, PAD, random_base
from support.rows import rows
from transformers import LogitsProcessor

from hf_prosocial import BaseMismatchError, GenArm, GenArmProcessor, PairTrainingArguments, Preference, train_genarm
from hf_prosocial.arm import PairReading, pair_log_probs
from hf_prosocial.arm.batch import collate
from hf_prosocial.data import tokenize_rows
from hf_prosocial.genarm.margins import measure_genarm_margins
from hf_prosocial.genarm.training import GenArmTrainer, genarm_record
from hf_prosocial.io import one_writer

PREFERENCE = Preference(warmth=0.7, help=0.3, objectives=NAMES)


class FullRecompute(LogitsProcessor):
    """Every row alone, unpadded, without a cache, by each adapter on its own."""

    def __init__(self, genarm, preferences, beta=1.0):
        self.genarm, self.preferences, self.beta = genarm, preferences, beta

    def __call__(self, input_ids, scores):
        each = len(input_ids) // len(self.preferences)
        out = []
        for index, (row, score) in enumerate(zip(input_ids, scores, strict=True)):
            tokens = row[int((row == PAD).long().cumprod(0).sum()) :]
            guided = score.float().log_softmax(-1)
            for name, weight in self.preferences[index // each].items():
                self.genarm.model.set_adapter(name)
                with torch.no_grad():
                    logits = self.genarm.model(tokens[None], use_cache=False).logits[0, -1].float()
                guided = guided + self.beta * weight * logits.log_softmax(-1)
            out.append(guided.log_softmax(-1))
        return torch.stack(out)


@pytest.mark.parametrize("mode", MODES)
def test_decoding_mixes_the_log_probabilities(mode):
    base, genarm = random_base("llama", seed=1), random_genarm("llama", seed=2)
    ours = generate(base, prompts(), GenArmProcessor(genarm, PREFERENCE, beta=1.3), **MODES[mode])
    assert_same(ours, generate(base, prompts(), FullRecompute(genarm, [PREFERENCE], beta=1.3), **MODES[mode]))


def test_a_preference_per_row(base):
    genarm = random_genarm("llama", seed=2)
    ids = prompts(rows=1)["input_ids"].repeat(3, 1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    preferences = [Preference.one_hot("truth", objectives=NAMES), PREFERENCE, Preference.uniform(objectives=NAMES)]
    ours = generate(base, inputs, GenArmProcessor(genarm, preferences), num_beams=3)
    assert_same(ours, generate(base, inputs, FullRecompute(genarm, preferences), num_beams=3))


def test_an_adapter_runs_on_the_rows_that_weigh_it_alone(base, monkeypatch):
    genarm = random_genarm("llama", seed=2)
    preferences = [Preference.one_hot("warmth", objectives=NAMES), PREFERENCE]
    ran, current = set(), []
    using = GenArm.using
    monkeypatch.setattr(GenArm, "using", lambda self, name: current.append(name) or using(self, name))
    embedding = genarm.wrapped.get_input_embeddings()
    embedding.register_forward_hook(lambda module, inputs, output: ran.add((current[-1], len(inputs[0]))))
    inputs = prompts(rows=2)
    processor = GenArmProcessor(genarm, preferences)
    ran.clear()  # What was run to try the model.
    ours = generate(base, inputs, processor, do_sample=False)
    assert ran == {("warmth", 2), ("help", 1)}
    assert_same(ours, generate(base, inputs, FullRecompute(genarm, preferences), do_sample=False))


@pytest.fixture
def pairs(tokenizer):
    return tokenize_rows(rows(NAMES, 24), tokenizer, NAMES, max_length=80)


def arguments(path, **options):
    defaults = {"per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    defaults |= {"num_train_epochs": 1, "logging_steps": 1, "save_strategy": "no", "beta_r": 0.5, "seed": 5}
    return PairTrainingArguments(output_dir=str(path), **(defaults | options))


def trained(tokenizer, pairs, path, **options):
    base = random_base("llama", seed=1)
    record = genarm_record(base, tokenizer, pairs, "org/base")
    resume = options.pop("resume", False)
    options = {"learning_rate": 1e-2, **options}
    return train_genarm(base, tokenizer, lora(), arguments(path, **options), pairs, record, resume=resume)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_mean_over_the_pairs(family, pairs, tokenizer, tmp_path):
    base = random_base(family, seed=1)
    if family == "gemma3":
        base.config.sliding_window = 64
    gpt2 = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
    arm = get_peft_model(base, lora(**gpt2) if family == "gpt2" else lora(target_modules=["q_proj", "v_proj"]))
    trainer = GenArmTrainer(arm, arguments(tmp_path), pairs, tokenizer)
    batch = collate(pairs.rows[:5], PAD)
    chosen, rejected = pair_log_probs(arm, batch, PairReading(arm.dtype))
    expected = -torch.log(torch.sigmoid(0.5 * (chosen - rejected))).mean()
    torch.testing.assert_close(trainer.compute_loss(arm, batch), expected)


def test_one_folder_has_one_training(pairs, tokenizer, tmp_path):
    with one_writer(tmp_path / "out"), pytest.raises(FileExistsError, match=f"is writing out in {tmp_path}"):
        trained(tokenizer, pairs, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_each_objective_learns_from_its_own_pairs_alone(pairs, tokenizer, tmp_path):
    both, logs = trained(tokenizer, pairs, tmp_path / "three", num_train_epochs=3)
    assert {name: log[-1]["step"] for name, log in logs.items()} == dict.fromkeys(NAMES, 6)
    # Other pairs of the first objective change its adapter, and no other one.
    changed = tokenize_rows(rows(NAMES, 24), tokenizer, NAMES, max_length=80)
    changed.rows = [pair for pair in changed.rows if pair.objective or pair.line > 4]
    other, _ = trained(tokenizer, changed, tmp_path / "fewer", num_train_epochs=3)
    first, second = (dict(arm.model.named_parameters()) for arm in (both, other))
    moved = {name.split(".")[-2] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"warmth"}
    margins = measure_genarm_margins(both, pairs, pad_token_id=PAD)
    assert all(margins.accuracy(index, index, per_token=False).mean > 0.9 for index in range(3))


def test_margins_are_those_of_each_adapter_and_of_their_mean(pairs):
    genarm = random_genarm("llama", seed=3)
    margins = measure_genarm_margins(genarm, pairs, pad_token_id=PAD, batch_tokens=100)
    alone = collate(pairs.rows, PAD)
    for index, name in enumerate(NAMES):
        genarm.model.set_adapter(name)
        with torch.no_grad():
            expected = pair_log_probs(genarm.model, alone, PairReading(torch.float32))
        torch.testing.assert_close(margins.guided[index], expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(margins.guided[3], margins.guided[:3].mean(0))
    with torch.no_grad():
        expected = pair_log_probs(random_base("llama", seed=3), alone, PairReading(torch.float32))
    torch.testing.assert_close(margins.base, expected, atol=1e-3, rtol=1e-4)


def test_what_was_trained_is_what_is_loaded(pairs, tokenizer, tmp_path, base):
    genarm, _ = trained(tokenizer, pairs, tmp_path)
    again = GenArm.from_pretrained(tmp_path, random_base("llama", seed=1), tokenizer=tokenizer)
    assert again.objectives == NAMES
    ours, theirs = (
        generate(base, prompts(), GenArmProcessor(arm, PREFERENCE, tokenizer=tokenizer), do_sample=False)
        for arm in (genarm, again)
    )
    assert_same(ours, theirs)
    # The layout is PEFT's own of several adapters.
    plain = PeftModel.from_pretrained(random_base("llama", seed=1), tmp_path / "truth").eval()
    again.model.set_adapter("truth")
    with torch.no_grad():
        torch.testing.assert_close(plain(prompts()["input_ids"]).logits, again.model(prompts()["input_ids"]).logits)


def test_an_adapter_file_that_is_not_whole_is_refused(pairs, tokenizer, tmp_path, base):
    trained(tokenizer, pairs, tmp_path)
    file = tmp_path / "truth" / "adapter_model.safetensors"
    whole = load_file(file)
    name = sorted(whole)[0]
    save_file({other: values for other, values in whole.items() if other != name}, file)
    with pytest.raises(ValueError, match=f"lacks .*{name.rpartition('.lora_')[0].rpartition('.')[2]}"):
        GenArm.from_pretrained(tmp_path, base)
    save_file(whole | {f"{name}x": whole[name].clone()}, file)
    with pytest.raises(ValueError, match=f"the adapter does not, {name}x"):
        GenArm.from_pretrained(tmp_path, base)


def test_training_goes_on_where_it_was_killed(pairs, tokenizer, tmp_path):
    options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 2}
    whole, _ = trained(tokenizer, pairs, tmp_path / "whole", **options)
    trained(tokenizer, pairs, tmp_path / "again", **options)
    for name, left in (("truth", "checkpoint-4"), ("help", None)):
        folder = tmp_path / "again" / name
        (folder / "log.json").unlink()
        for checkpoint in folder.glob("checkpoint-*"):
            if checkpoint.name != left:
                (checkpoint / "trainer_state.json").unlink()
    finished = (tmp_path / "again" / "warmth" / "adapter_model.safetensors").stat().st_mtime_ns
    resumed, logs = trained(tokenizer, pairs, tmp_path / "again", resume=True, **options)
    assert (tmp_path / "again" / "warmth" / "adapter_model.safetensors").stat().st_mtime_ns == finished
    assert [line["step"] for line in logs["truth"] if "loss" in line] == [1, 2, 3, 4, 5, 6]
    for (name, one), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_bad_input_is_refused(pairs, tokenizer, tmp_path, base):
    genarm, _ = trained(tokenizer, pairs, tmp_path / "arm")
    with pytest.raises(BaseMismatchError, match="base_weights: the adapter was trained on"):
        GenArm.from_pretrained(tmp_path / "arm", random_base("llama", seed=9))
    with pytest.raises(ValueError, match="allow_mismatch may name"):
        GenArm.from_pretrained(tmp_path / "arm", base, allow_mismatch=["weights"])
    with pytest.raises(OSError, match=r"genarm\.json"):
        GenArm.from_pretrained(tmp_path, base)
    with pytest.raises(ValueError, match="max_steps=3 would count for each objective anew"):
        trained(tokenizer, pairs, tmp_path / "other", max_steps=3)
    pairs.rows = [pair for pair in pairs.rows if pair.objective != 1]
    with pytest.raises(ValueError, match=r"no pair is labelled for \['truth'\]"):
        trained(tokenizer, pairs, tmp_path / "other")
    with pytest.raises(ValueError, match="objective"):
        GenArmProcessor(genarm, Preference.uniform())
    processor = GenArmProcessor(genarm, PREFERENCE)
    genarm.model.delete_adapter("truth")
    with pytest.raises(ValueError, match=r"adapters \['truth'\] are gone"):
        generate(base, prompts(), processor)
    with pytest.raises(ValueError, match=r"no adapter for \['truth'\]"):
        GenArm(genarm.model, genarm.record)
    record = json.loads((tmp_path / "arm" / "genarm.json").read_text())
    configs = [
        json.loads((tmp_path / "arm" / name / "adapter_config.json").read_text()) for name in record["objectives"]
    ]
    assert {one["base_model_name_or_path"] for one in (record, *configs)} == {"org/base"}
