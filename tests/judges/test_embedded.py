"""Embedded judges: features of a reply, heads that are scikit-learn's, figures of what was held out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from support.small_evaluation import MILD, write_heads, write_lines
from typer.testing import CliRunner

from hf_prosocial import OBJECTIVES
from hf_prosocial.cli import app
from hf_prosocial.data import Prompt
from hf_prosocial.judges import REFUSAL
from hf_prosocial.judges.embedded import WEIGHTS, EmbeddedJudge, EmbeddedScorer, Heads
from hf_prosocial.judges.features import ReplyFeatures
from hf_prosocial.judges.training import Labelled, fit_harm, fit_refusal, fit_rewards

PROMPTS = [Prompt("mild", str(line), (("user", text),)) for line, text in enumerate(MILD)]
REPLIES = ["tell me more", "", "so what", "help is there, you can ask", "i am sad to say it", "..."]


def test_features_are_means_over_the_reply(base, tokenizer):
    # One prompt has as many replies as make a batch of its own, which reads the prompt once.
    prompts = [*PROMPTS, *[PROMPTS[2]] * 9]
    replies = [*REPLIES, *(f"{text} tell me {row}" for row, text in enumerate([*MILD, "so", "what", ""]))]
    together = ReplyFeatures(base, tokenizer, [1, 2], batch_tokens=90)(prompts, replies)
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        said = [{"role": "assistant", "content": reply}]
        before = tokenizer.apply_chat_template(prompt.messages(), tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*prompt.messages(), *said], tokenize=False).rstrip()
        ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
        start = len(tokenizer(before, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            states = base.model(ids, output_hidden_states=True).hidden_states
        expected = torch.cat([states[layer][0, start:].mean(0) for layer in (1, 2)])
        np.testing.assert_allclose(together[row], expected.numpy(), atol=1e-5)


def test_a_reply_is_read_once(base, tokenizer, monkeypatch):
    features = ReplyFeatures(base, tokenizer, [1])
    first = features(PROMPTS, REPLIES)
    monkeypatch.setattr(ReplyFeatures, "_states", None)
    np.testing.assert_array_equal(features(PROMPTS[::-1], REPLIES[::-1]), first[::-1])
    monkeypatch.undo()
    alone = ReplyFeatures(base, tokenizer, [1])(PROMPTS[:4], REPLIES[:4])
    np.testing.assert_array_equal(features(PROMPTS[:4], REPLIES[:4]), alone)
    long = Prompt("mild", "9", (("user", "help me " * 200),))
    with pytest.raises(ValueError, match="the model that reads it holds 128"):
        features([long], ["so what"])


def test_a_reply_that_cannot_be_read_marks_its_row(tmp_path, saved_arm):
    heads = Heads.load(write_heads(tmp_path / "heads", saved_arm[0]))
    long = Prompt("mild", "9", (("user", "help me " * 200),))
    prompts, replies = [PROMPTS[0], long, PROMPTS[1]], [REPLIES[0], "so what", REPLIES[1]]
    labels = EmbeddedJudge(heads, heads.features(), "refusal")(prompts, replies)
    assert labels[1] is None
    assert [labels[0], labels[2]] == EmbeddedJudge(heads, heads.features(), "refusal")(PROMPTS[:2], REPLIES[:2])
    scores = EmbeddedScorer(heads, heads.features())(prompts, replies)
    assert np.isnan(scores[1]).all()
    np.testing.assert_array_equal(scores[[0, 2]], EmbeddedScorer(heads, heads.features())(PROMPTS[:2], REPLIES[:2]))
    assert EmbeddedJudge(heads, heads.features(), "refusal")([long], ["so what"]) == [None]


def test_heads_survive_the_disk_and_know_their_model(tmp_path, saved_arm):
    base, _ = saved_arm
    heads = Heads.load(write_heads(tmp_path / "heads", base))
    features = heads.features()
    scorer, judge = EmbeddedScorer(heads, features), EmbeddedJudge(heads, features, "refusal")
    assert scorer.names == OBJECTIVES
    read = features(PROMPTS, REPLIES)
    rewards = heads.heads["rewards"]
    expected = (read - rewards.mean) / rewards.deviation @ rewards.weight + rewards.bias
    np.testing.assert_allclose(scorer(PROMPTS, REPLIES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(rewards(read)[2:4], rewards(read[2:4]))
    labels = judge(PROMPTS, REPLIES)
    assert labels == [REFUSAL[index] for index in heads.heads["refusal"](read).argmax(1)]
    record = json.loads((tmp_path / "heads" / "heads.json").read_text())
    (tmp_path / "heads" / "heads.json").write_text(json.dumps(record | {"weights": "0" * 64}))
    with pytest.raises(ValueError, match="of weights 000000000000"):
        Heads.load(tmp_path / "heads").features()


def test_damaged_heads_are_named(tmp_path, saved_arm):
    folder = Path(write_heads(tmp_path / "heads", saved_arm[0]))
    arrays = load_file(folder / WEIGHTS)
    save_file({name: values for name, values in arrays.items() if name != "refusal.bias"}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"heads\.safetensors is damaged \('refusal\.bias'\)"):
        Heads.load(folder)
    save_file(arrays | {"refusal.bias": arrays["refusal.bias"][:-1]}, folder / WEIGHTS)
    with pytest.raises(ValueError, match="is damaged: the head refusal has the shapes"):
        Heads.load(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"heads\.safetensors is damaged"):
        Heads.load(folder)


def clusters(count, names, *, spread, seed=0):
    """Points around one centre for each label, by four answering models."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, names, count)
    features = generator.normal(size=(count, 6)) * spread
    features[np.arange(count), labels] += 3
    return Labelled(features.astype(np.float32), labels, [f"model {row % 4}" for row in range(count)])


def test_what_can_be_told_apart_is_and_what_cannot_is_not():
    head, figures = fit_refusal(clusters(400, 3, spread=0.5))
    assert figures["accuracy"].mean > 0.97
    assert np.trace(figures["confusion"]) == round(figures["accuracy"].mean * 400)
    fresh = clusters(200, 3, spread=0.5, seed=1)
    assert (head(fresh.features).argmax(1) == fresh.labels).mean() > 0.97
    mixed = clusters(400, 3, spread=0.5)
    shuffled = Labelled(mixed.features, np.random.default_rng(2).permutation(mixed.labels), mixed.groups)
    assert fit_refusal(shuffled)[1]["accuracy"].mean < 0.45


def test_a_held_out_model_has_no_say():
    """Labels of one model are turned round: what was fitted to the others must be wrong on it."""
    given = clusters(400, 2, spread=0.3)
    groups = [f"model {row % 3 + 1}" if row >= 20 else "model 0" for row in range(400)]
    labels = np.where(np.arange(400) < 20, 1 - given.labels, given.labels)
    _, figures = fit_harm(clusters(50, 2, spread=0.3, seed=3), Labelled(given.features, 2 * labels, groups))
    by_model = figures["accuracy_by_model"]
    assert by_model["model 0"] < 0.1
    assert min(by_model[f"model {number}"] for number in (1, 2, 3)) > 0.8


def test_the_head_of_two_labels_is_scikit_learns():
    rows, human = clusters(80, 2, spread=1.0), clusters(120, 3, spread=1.0, seed=1)
    head, _ = fit_harm(rows, human)
    labels = np.concatenate([(human.labels != 0).astype(int), rows.labels])
    features = np.concatenate([human.features, rows.features]).astype(np.float64)
    standard = (features - features.mean(0)) / (features.std(0) + 1e-6)
    logits = head(features.astype(np.float32))
    fits = [LogisticRegression(C=c, max_iter=2000).fit(standard, labels) for c in (1e-4, 1e-3, 1e-2, 1e-1)]
    ours = logits[:, 1] - logits[:, 0]
    assert any(np.allclose(ours, fit.decision_function(standard), atol=1e-4) for fit in fits)


def test_rewards_order_pairs():
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(2, 8))
    objective = np.arange(200) % 2
    rejected = generator.normal(size=(200, 8))
    chosen = rejected + direction[objective] + generator.normal(size=(200, 8)) * 0.3
    groups = [f"prompt {row // 4}" for row in range(200)]
    head, accuracies = fit_rewards(("warmth", "truth"), chosen, rejected, objective, groups)
    assert {name: one.count for name, one in accuracies.items()} == {"warmth": 100, "truth": 100}
    assert min(one.mean for one in accuracies.values()) > 0.9
    gains = head(chosen) - head(rejected)
    assert (gains[np.arange(200), objective] > 0).mean() > 0.9
    noise = generator.normal(size=(200, 8))
    _, accuracies = fit_rewards(("warmth", "truth"), noise, generator.normal(size=(200, 8)), objective, groups)
    assert max(one.mean for one in accuracies.values()) < 0.7
    with pytest.raises(ValueError, match="truth has 1 groups"):
        fit_rewards(("warmth", "truth"), chosen, rejected, objective, [f"{row * (1 - row % 2)}" for row in range(200)])


def test_the_command_trains_on_files(tmp_path, saved_arm):
    base, _ = saved_arm
    pairs = [
        {"attribute": name, "prompt": f"{text} {row}", "chosen": "i am sad to say", "rejected": "so what"}
        for name in OBJECTIVES
        for row in range(2)
        for text in MILD
    ]
    completions = [
        {
            "prompt": text,
            "response": ("help is there", "tell me", "no, so what")[row % 3],
            "label": ("1_full_compliance", "3_partial_refusal", "2_full_refusal")[row % 3],
            "model": f"model {row // 6}",
            "type": ("safe", "contrast_safe")[(row // 3) % 2],
        }
        for row in range(18)
        for text in MILD[:2]
    ]
    harm = [{"prompt": text, "completion": "so what"} for text in MILD]
    files = {
        "--pairs": write_lines(tmp_path / "pairs.jsonl", pairs),
        "--harmful": write_lines(tmp_path / "harmful.jsonl", harm),
        "--benign": write_lines(tmp_path / "benign.jsonl", [row | {"completion": "i am sad"} for row in harm]),
        "--completions": write_lines(tmp_path / "completions.jsonl", completions),
        "--base": str(base),
        "--layers": "2",
        "--out": str(tmp_path / "heads"),
    }
    found = CliRunner().invoke(app, ["judges", "train", *(word for pair in files.items() for word in pair)])
    assert found.exit_code == 0, found.output
    card = (tmp_path / "heads" / "README.md").read_text()
    assert "| empathy | 1.000 [" in card
    assert "the answering model held out: κ" in card
    heads = Heads.load(tmp_path / "heads")
    assert set(heads.heads) == {"rewards", "refusal", "harm"}
    assert heads.record.data[f"{tmp_path.name}/pairs.jsonl"]
    assert EmbeddedScorer(heads, heads.features())(PROMPTS[:1], ["so what"]).shape == (1, 5)
    people = [
        {"prompt": f"{text} {row}", "response": reply, "label": label}
        for row, (reply, label) in enumerate([("help is there", "answers"), ("no, so what", "turns_away")] * 2)
        for text in MILD
    ]
    given = [*files.items(), ("--people", write_lines(tmp_path / "people.jsonl", people))]
    found = CliRunner().invoke(app, ["judges", "train", *(word for pair in given for word in pair)])
    assert found.exit_code == 0, found.output
    record = Heads.load(tmp_path / "heads").record
    assert record.validation["refusal"]["people"]["count"] == 24
    assert "24 replies to people in need with a reader's labels, the people held out: κ 1.00" in found.output
    assert record.data[f"{tmp_path.name}/people.jsonl"]
    write_lines(tmp_path / "people.jsonl", [people[0] | {"label": "odd"}])
    found = CliRunner().invoke(app, ["judges", "train", *(word for pair in given for word in pair)])
    assert "line 1: the label 'odd' is none of" in found.output
    write_lines(tmp_path / "completions.jsonl", completions[:24])
    found = CliRunner().invoke(app, ["judges", "train", *(word for pair in files.items() for word in pair)])
    assert "three models or more are needed" in found.output
    write_lines(tmp_path / "completions.jsonl", [completions[0] | {"label": "9_odd"}])
    found = CliRunner().invoke(app, ["judges", "train", *(word for pair in files.items() for word in pair)])
    assert found.exit_code == 1
    assert "line 1: the label '9_odd' is none of" in found.output
