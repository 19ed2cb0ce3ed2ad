import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from sklearn.metrics import roc_auc_score
from support.gates import gated_vector, probe_between, states_alone
from support.models import random_base, tiny_tokenizer

from hf_prosocial import BaseMismatchError, ProsocialError, find_base
from hf_prosocial.decoding import GatedModel
from hf_prosocial.gate import GatedHarmVector, GateRecipe, Turns, train_gate
from hf_prosocial.gate.contrast import contrast_factors
from hf_prosocial.gate.features import Reader
from hf_prosocial.gate.fit import calibrated, fit_probe, gate_figures
from hf_prosocial.gate.harmless import harmless_prompts, in_other_words, people_prompts
from hf_prosocial.gate.train import by_name
from hf_prosocial.models import prompt_batch, prompt_text

RUDE = ["Write a guide on how to be rude to {}", "Insult {}", "Mock {} in public", "Call {} names"]
WHOM = ["a colleague", "my aunt", "the waiter", "our neighbours", "a singer", "the mayor", "a child", "my boss"]


def copy_of(base, folder, seed, targets=("q_proj", "down_proj"), r=2):
    model, _ = find_base(base).load(torch.float32)
    torch.manual_seed(seed)
    copy = get_peft_model(model, LoraConfig(r=r, lora_alpha=6, target_modules=list(targets), init_lora_weights=False))
    copy.save_pretrained(folder)
    return folder, {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach().double()
        for name, module in copy.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def test_the_factors_are_the_contrast_at_full_rank_and_its_best_approximation_below(saved_arm, tmp_path):
    harmful, harm = copy_of(saved_arm[0], tmp_path / "harmful", 1)
    benign, kind = copy_of(saved_arm[0], tmp_path / "benign", 2, targets=("q_proj", "up_proj"))
    whole, kept = contrast_factors(str(saved_arm[0]), harmful, benign, 1.5, 8)
    assert kept == pytest.approx(1)
    assert whole.keys() == harm.keys() | kind.keys()
    low, share = contrast_factors(str(saved_arm[0]), harmful, benign, 1.5, 1)
    held = total = 0.0
    for name, factors in whole.items():
        tau = harm.get(name, 0) - 1.5 * kind.get(name, torch.zeros(()))
        torch.testing.assert_close(factors.B.double() @ factors.A.double(), tau, rtol=1e-5, atol=1e-6)
        values = torch.linalg.svdvals(tau)
        rest = (low[name].B.double() @ low[name].A.double() - tau).norm()
        torch.testing.assert_close(rest, values[1:].norm(), rtol=1e-4, atol=1e-6)
        held, total = held + float(values[0] ** 2), total + float((values**2).sum())
    assert share == pytest.approx(held / total)


def test_copies_that_give_no_vector_are_refused(saved_arm, tmp_path):
    harmful, _ = copy_of(saved_arm[0], tmp_path / "harmful", 1)
    with pytest.raises(ProsocialError, match="differs in nothing"):
        contrast_factors(str(saved_arm[0]), harmful, harmful, 1.0, 2)
    with pytest.raises(ProsocialError, match="a rank of at least 1"):
        contrast_factors(str(saved_arm[0]), harmful, None, 1.0, 0)


def draws(seed, count=60, width=6):
    draw = np.random.default_rng(seed)
    direction = draw.normal(size=width)
    harmful, harmless, people = (
        (draw.normal(size=(count, width)) + shift * direction).astype(np.float32) for shift in (1.5, -0.5, -2)
    )
    return harmful, harmless, people


@given(seed=st.integers(0, 10**6))
def test_a_probe_reads_features_as_they_are_and_opens_for_no_more_than_it_may(seed):
    harmful, harmless, people = draws(seed)
    probe = calibrated(fit_probe((1, 2), (1,), harmful, harmless, people), harmless, people)
    assert probe.threshold < probe.full
    assert (probe.of_features(harmless) > probe.threshold).mean() <= 0.08 + 1 / 60
    assert (probe.of_features(people) > probe.threshold).mean() <= 0.01 + 1 / 60
    assert (probe.of_features(harmless) >= probe.full).mean() <= 0.02 + 1 / 60
    shifted = fit_probe((1, 2), (1,), harmful * 3 + 5, harmless * 3 + 5, people * 3 + 5)
    np.testing.assert_allclose(shifted.of_features(harmful * 3 + 5), probe.of_features(harmful), rtol=1e-2, atol=2e-3)


def test_figures_are_those_of_a_plain_count():
    harmful, harmless, people = draws(3)
    probe = calibrated(fit_probe((1, 2), (1,), harmful, harmless, people), harmless, people)
    found = gate_figures(probe, {"one": harmful, "two": harmful[:10]}, {"safe": harmless}, {"people": people})
    odds = [probe.of_features(rows) for rows in (harmful, harmful[:10], harmless)]
    shares = [float((one > probe.threshold).mean()) for one in odds]
    assert found["opens: one (harmful)"].mean == pytest.approx(shares[0])
    assert found["opens: mean of the harmful sets"] == pytest.approx((shares[0] + shares[1]) / 2)
    area = roc_auc_score([1] * 70 + [0] * 60, np.concatenate(odds))
    told = found["area under the ROC, harmful against safe"]
    assert told.mean == pytest.approx(area)
    assert told.low <= area <= told.high


TEXTS = st.lists(st.text("abcde fg", min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=6, unique=True)


@given(texts=TEXTS, seed=st.integers(0, 10**6))
def test_what_is_learned_from_is_what_is_read_later(texts, seed):
    base, tokenizer = random_base("llama", seed=seed % 7), tiny_tokenizer()
    turns = Turns.of(tokenizer)
    reader = Reader(base, tokenizer, turns, (1, 2), (1,))
    features = reader.messages(texts)
    probe = probe_between(base, torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.int64)).opening(-1e3, 1e3)
    vector = dataclasses.replace(gated_vector(base, probe), turns=turns)
    said = [[{"role": "user", "content": text}] for text in texts]
    batch = prompt_batch(tokenizer, said)
    scales = vector.scales(base, batch.input_ids, batch.attention_mask)
    expected = (probe.of_features(features) + 1e3) / 2e3
    np.testing.assert_allclose(scales.numpy(), expected, atol=1e-6)
    for text, found in zip(texts, features, strict=True):
        ids = torch.tensor(
            tokenizer(prompt_text(tokenizer, said[texts.index(text)]), add_special_tokens=False).input_ids
        )
        by_hand = states_alone(base, ids, (1, 2), (1,), len(turns.before))
        np.testing.assert_allclose(found, by_hand.numpy(), rtol=1e-4, atol=1e-5)
    for text, found in zip(texts, reader.texts(texts), strict=True):
        by_hand = states_alone(base, torch.tensor(tokenizer(text).input_ids), (1, 2), (1,))
        np.testing.assert_allclose(found, by_hand.numpy(), rtol=1e-4, atol=1e-5)


def test_prompts_of_ones_own_are_whole_sentences_of_which_none_repeats():
    for prompts in (harmless_prompts(), people_prompts()):
        assert len(prompts) > 400
        assert len(set(prompts)) == len(prompts)
        assert not [text for text in prompts if "{" in text or "}" in text or "  " in text or not text.strip()]
    assert harmless_prompts(1) != harmless_prompts(2)
    assert harmless_prompts(1) == harmless_prompts(1)


def test_requests_in_other_words_ask_for_the_same():
    found = in_other_words(["Write a guide on how to be rude.", "Insult my colleague"], seed=3)
    assert len(found) == 8
    assert all("be rude" in text.lower() or "insult my colleague" in text.lower() for text in found)


def lines(path, texts, **further):
    path.write_text("".join(json.dumps({"prompt": text, **further}) + "\n" for text in texts))
    return str(path)


@pytest.fixture
def recipe(saved_arm, tmp_path):
    harmful, _ = copy_of(saved_arm[0], tmp_path / "harmful", 1)
    benign, _ = copy_of(saved_arm[0], tmp_path / "benign", 2)
    rude = [template.format(whom) for template in RUDE for whom in WHOM]
    return GateRecipe(
        base=str(saved_arm[0]),
        harmful_copy=str(harmful),
        benign_copy=str(benign),
        harmful=[lines(tmp_path / "rude.jsonl", rude)],
        calibration=[lines(tmp_path / "sounds_rude.jsonl", [f"how do i beat eggs for {n}" for n in range(40)])],
        held_out_harmful=[lines(tmp_path / "rude_too.jsonl", [f"laugh at {whom}" for whom in WHOM])],
        held_out_harmless=[lines(tmp_path / "safe.jsonl", ["how do i whip cream", "what is a pun"], label="safe")],
        held_out_people=[lines(tmp_path / "in_need.jsonl", ["i am so sad", "my aunt is ill"])],
        out=str(tmp_path / "gated"),
        r=3,
        scale=0.8,
    )


def test_from_copies_and_prompts_to_a_vector_that_subtracts(recipe, tokenizer):
    made = train_gate(recipe)
    vector = GatedHarmVector.from_pretrained(recipe.out)
    assert vector.record == made.record
    assert vector.content_hash() == made.content_hash()
    assert vector.scale == 0.8
    assert {"harmful", "harmless", "people"} <= vector.record.counts.keys()
    assert "opens: rude_too (harmful)" in vector.record.figures
    base, own = find_base(recipe.base).load(torch.float32)
    vector.check(base, own)
    assert vector.turns == Turns.of(own)
    GatedModel(base, vector)
    with pytest.raises(BaseMismatchError):
        vector.check(random_base("llama", seed=9))


def test_a_vector_gets_another_gate(recipe, tmp_path):
    before = train_gate(recipe)
    again = dataclasses.replace(
        recipe, harmful_copy=None, benign_copy=None, vector=recipe.out, out=str(tmp_path / "again"), seed=1
    )
    after = train_gate(again)
    assert after.factors.keys() == before.factors.keys()
    for name, factor in after.factors.items():
        torch.testing.assert_close(factor.A, before.factors[name].A, rtol=0, atol=0)
        torch.testing.assert_close(factor.B, before.factors[name].B, rtol=0, atol=0)
    assert (after.probe.weight != before.probe.weight).any()
    shown = ("contrast", "r", "kept", "scale")
    assert [getattr(after.record, name) for name in shown] == [getattr(before.record, name) for name in shown]
    with pytest.raises(ProsocialError, match="one of the two"):
        dataclasses.replace(again, vector=None)
    with pytest.raises(ProsocialError, match="one of the two"):
        dataclasses.replace(recipe, vector=recipe.out)
    with pytest.raises(ProsocialError, match="benign_copy"):
        dataclasses.replace(again, benign_copy=recipe.benign_copy)


def test_a_prompt_that_is_learned_from_and_measured_on_is_refused(recipe, tmp_path):
    recipe.held_out_harmful = [lines(tmp_path / "again.jsonl", ["insult  a colleague"])]
    with pytest.raises(ProsocialError, match="both harmful and held out"):
        train_gate(recipe)


def test_too_few_prompts_are_refused(recipe, tmp_path):
    recipe.calibration = [lines(tmp_path / "few.jsonl", ["how do i beat eggs"])]
    with pytest.raises(ProsocialError, match="1 for calibration"):
        train_gate(recipe)


def test_labelled_files_are_read_for_the_label_that_they_are_given_for(recipe, tmp_path):
    rows = [{"prompt": f"laugh at {n}", "label": "unsafe"} for n in range(9)]
    rows += [{"prompt": f"laugh with {n}", "label": "safe"} for n in range(5)]
    both = tmp_path / "both.jsonl"
    both.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert by_name([str(both)], "unsafe")["both"] == [f"laugh at {n}" for n in range(9)]
    assert by_name([str(both)])["both"] == [f"laugh with {n}" for n in range(5)]
    recipe.held_out_harmful = [lines(tmp_path / "safe_alone.jsonl", ["hello"], label="safe")]
    with pytest.raises(ProsocialError, match="no prompt that is labelled 'unsafe'"):
        train_gate(recipe)


@pytest.mark.parametrize("change", ["calibration", "harmless", "same name", "layers"])
def test_what_would_be_measured_wrongly_is_refused(recipe, tmp_path, change):
    if change == "calibration":
        recipe.held_out_harmless, message = recipe.calibration, "both calibration and held out"
    elif change == "harmless":
        recipe.harmless, message = recipe.harmful, "both harmful and harmless"
    elif change == "same name":
        (tmp_path / "other").mkdir()
        recipe.held_out_people.append(lines(tmp_path / "other" / "in_need.jsonl", ["i am lost"]))
        message = "two files are called in_need"
    else:
        recipe.layers, message = [-1], "there are no hidden states"
    with pytest.raises(ProsocialError, match=message):
        train_gate(recipe)
