"""Losses and multiple choice against one unpadded row at a time."""

import copy
import json

import numpy as np
import pytest
import torch
from support.completions import completion_loss as one_at_a_time
from support.completions import completion_rows
from support.models import random_arm, random_base

from hf_prosocial import Preference
from hf_prosocial.data import Question, batches_by_length, read_questions
from hf_prosocial.data.completions import tokenize_completions
from hf_prosocial.decoding import GuidedPair
from hf_prosocial.evaluation.config import VariantConfig
from hf_prosocial.models import choice_accuracy, completion_loss, mean_divergences, text_loss, window_losses


@pytest.fixture
def model():
    return random_base("llama", seed=1)


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_completion_loss(model, tokenizer, batch_tokens):
    completions = tokenize_completions(completion_rows(9), tokenizer, 80)
    found = completion_loss(model, completions.rows, pad_token_id=0, batch_tokens=batch_tokens)
    assert found == pytest.approx(one_at_a_time(model, completions), abs=1e-5)


def test_text_loss_counts_each_token_but_a_windows_first(model, tokenizer):
    text = "i am sad you can ask me take your time i lost my cat " * 3
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    losses = []
    for start in range(0, len(ids), 7):
        piece = torch.tensor(ids[start : start + 7])
        if len(piece) > 1:
            with torch.no_grad():
                log_probs = model(piece[None]).logits[0, :-1].log_softmax(-1)
            losses += (-log_probs[torch.arange(len(piece) - 1), piece[1:]]).tolist()
    assert text_loss(model, tokenizer, text, window=7) == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    first = text_loss(model, tokenizer, text, window=7, tokens=7)
    assert first == pytest.approx(sum(losses[:6]) / 6, abs=1e-5)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        text_loss(model, tokenizer, "i", window=7, tokens=1)


def test_choice_accuracy(model, tokenizer):
    asked = ["i am sad", "can you help", "what is it", "i am late"]
    choices = ("thank you friend", "no idea", "hurry up so what")
    best = []
    for question in asked:
        prompt = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        scores = []
        for choice in choices:
            answer = tokenizer(f" {choice}", add_special_tokens=False)["input_ids"]
            ids = torch.tensor(prompt + answer)
            with torch.no_grad():
                log_probs = model(ids[None]).logits[0, :-1].log_softmax(-1)
            at = torch.arange(len(prompt) - 1, len(ids) - 1)
            scores.append(log_probs[at, ids[len(prompt) :]].mean().item())
        best.append(scores.index(max(scores)))
    right = [Question(question, choices, index) for question, index in zip(asked, best, strict=True)]
    assert choice_accuracy(model, tokenizer, right, pad_token_id=0) == 1
    wrong = [Question(question.question, choices, (question.answer + 1) % 3) for question in right[:1]] + right[1:]
    assert choice_accuracy(model, tokenizer, wrong, pad_token_id=0) == 0.75


def test_no_choice_is_right_where_every_one_is_barred(model, tokenizer):
    choices = ("no idea", "thank you friend")
    questions = [Question("can you help", choices, index) for index in range(2)]
    assert choice_accuracy(model, tokenizer, questions, pad_token_id=0) == 0.5
    barred = [tokenizer(f" {choice}", add_special_tokens=False)["input_ids"][-1] for choice in choices]

    def bar(module, inputs, output):
        output.logits[..., barred] = -torch.inf

    with model.register_forward_hook(bar):
        assert choice_accuracy(model, tokenizer, questions, pad_token_id=0) == 0


def test_questions_are_read_by_line(tmp_path):
    file = tmp_path / "questions.jsonl"
    row = {"question": "Where?", "options": "\nA. here\nB. over there. Yes", "answer": "B. over there. Yes"}
    file.write_text(json.dumps(row) + "\n")
    assert read_questions(file).rows == [Question("Where?", ("here", "over there. Yes"), 1)]
    bad = [row | {"answer": "C. no"}, {"question": "Where?"}, row | {"options": "here\nB. over there. Yes"}, [1]]
    file.write_text("\n".join(json.dumps(one) for one in [*bad, row]))
    found = read_questions(file)
    assert len(found.rows) == 1
    reasons = {line: str(error) for line, error in found.malformed.items()}
    assert reasons == {
        1: "no such option: C. no",
        2: "missing field: options, answer",
        3: "an option without a letter: here",
        4: "not an object: list",
    }
    assert "1 questions; 4 malformed rows left out" in found.report()
    file.write_text(json.dumps(bad[0]))
    with pytest.raises(ValueError, match="can be asked"):
        read_questions(file)


def test_batches_hold_every_row_once():
    lengths = [5, 50, 7, 7, 3, 200, 12]
    batches = list(batches_by_length(lengths, 30))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 30 for batch in batches)


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_divergence_is_that_of_each_token(model, arm, tokenizer, batch_tokens):
    rows = tokenize_completions(completion_rows(4), tokenizer, 80).rows
    guided = GuidedPair(model, arm, Preference.one_hot("empathy"), beta=0.7, safe_set=0.05)
    temperatures = (1.0, 1.7, 0.4)
    found = mean_divergences(guided, model, rows, pad_token_id=0, batch_tokens=batch_tokens, temperatures=temperatures)
    for row, values in zip(rows, found, strict=True):
        ids = torch.tensor([row.prompt + row.completion])
        columns = slice(len(row.prompt) - 1, ids.shape[1] - 1)
        with torch.no_grad():
            one, other = (each(ids).logits[0, columns] for each in (guided, model))
        for temperature, value in zip(temperatures, values, strict=True):
            own, base = (one / temperature).log_softmax(-1), other.log_softmax(-1)
            expected = torch.nn.functional.kl_div(base, own, log_target=True, reduction="none").nan_to_num(nan=0.0)
            assert value == pytest.approx(expected.sum(-1).mean().item(), abs=1e-5)
    assert mean_divergences(model, model, rows, pad_token_id=0).max() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_guidance_that_has_learned_nothing_changes_nothing_at_one_plus_beta(model, tokenizer, beta):
    trained = random_arm("llama", seed=2, base=random_base("llama", seed=1))
    untrained = copy.deepcopy(trained)
    with torch.no_grad():
        for name, parameter in untrained.named_parameters():
            if "pblora_B" in name:
                parameter.zero_()
    neutral = VariantConfig(arm="any", beta=beta).neutral_temperature
    text = "i am sad you can ask me take your time i lost my cat " * 3
    rows = tokenize_completions(completion_rows(4), tokenizer, 80).rows
    plain = window_losses(model, tokenizer, text, window=7)
    for guide, same in ((untrained, True), (trained, False)):
        guided = GuidedPair(model, guide, Preference.one_hot("empathy"), beta=beta)
        tempered = window_losses(guided, tokenizer, text, window=7, temperatures=(1.0, neutral))
        assert np.allclose(tempered[:, 1], plain[:, 0], atol=1e-4) == same
        assert not np.allclose(tempered[:, 0], plain[:, 0], atol=1e-2)  # Sharper: METHOD's formula as it stands.
        sharp, moved = mean_divergences(guided, model, rows, pad_token_id=0, temperatures=(1.0, neutral)).T
        assert (moved < 1e-5).all() == same
        assert sharp.min() > 1e-3
    assert VariantConfig().neutral_temperature == 1
