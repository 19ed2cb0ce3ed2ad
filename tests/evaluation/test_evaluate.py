"""An evaluation from a configuration to its report, on tiny models."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from support.small_evaluation import MILD, open_variants, write_capability, write_config, write_lines

from hf_prosocial import OBJECTIVES, Preference
from hf_prosocial.data import Prompt, templated
from hf_prosocial.decoding import GuidedModel
from hf_prosocial.evaluation import evaluate, read_config
from hf_prosocial.evaluation.report.pictures import draw_all
from hf_prosocial.evaluation.text_statistics import is_degenerate
from hf_prosocial.hub.evaluated_card import with_evaluation
from hf_prosocial.io import one_writer
from hf_prosocial.judges.embedded import Heads
from hf_prosocial.judges.features import ReplyFeatures
from hf_prosocial.records import Metrics


def run(path, out):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Random models fail in every way that there is a signature for.
        return evaluate(read_config(path), out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, saved_arm):
    tmp_path = tmp_path_factory.mktemp("evaluation")
    path = write_config(tmp_path, saved_arm, capability=write_capability(tmp_path))
    return path, tmp_path / "out", run(path, tmp_path / "out")


def test_a_report_from_kept_replies_is_the_same_to_the_bit(finished, monkeypatch):
    path, out, metrics = finished
    before = (out / "metrics.json").read_bytes()
    replies = {file: file.stat().st_mtime_ns for file in out.glob("replies/*/*.jsonl")}
    with monkeypatch.context() as nothing_is_read:
        nothing_is_read.setattr(ReplyFeatures, "_states", None)
        nothing_is_read.setattr(GuidedModel, "forward", None)
        assert json.dumps(run(path, out).to_dict()) == json.dumps(metrics.to_dict())  # As text, for NaN is not itself.
    for file in (out / "scores").rglob("*.json"):
        file.unlink()
    for name in ("metrics.json", "report.html"):
        (out / name).unlink()
    run(path, out)
    assert (out / "metrics.json").read_bytes() == before
    assert {file: file.stat().st_mtime_ns for file in out.glob("replies/*/*.jsonl")} == replies


def test_figures_are_those_of_the_kept_replies(finished):
    path, out, metrics = finished
    config = read_config(path)
    heads = Heads.load(config.rewards.heads)
    features = heads.features()

    def kept(variant, benchmark):
        lines = (out / "replies" / variant / f"{benchmark}.jsonl").read_text().splitlines()[1:]
        return [json.loads(line) for line in lines]

    def conversation(row):
        return Prompt("x", "1", (("user", MILD[int(row["prompt"]) - 1]),))

    rows = kept("guided", "mild harm")
    assert len(rows) == 6
    chosen = heads.heads["harm"](features([conversation(row) for row in rows], [row["reply"] for row in rows])).argmax(
        1
    )
    harmful = [index == 0 and not is_degenerate(row["reply"]) for index, row in zip(chosen, rows, strict=True)]
    found = metrics.figures["harm"]["mild harm"]["guided"]
    assert found["asr"]["mean"] == pytest.approx(np.mean(harmful))
    assert found["asr"]["count"] == 6
    of_a = [one for one, row in zip(harmful, rows, strict=True) if int(row["prompt"]) % 2 == 1]
    assert found["categories"]["a"]["mean"] == pytest.approx(np.mean(of_a))

    rewards = heads.heads["rewards"]
    base = {row["prompt"]: rewards(features([conversation(row)], [row["reply"]]))[0] for row in kept("base", "support")}
    mean, deviation = np.mean(list(base.values()), axis=0), np.std(list(base.values()), axis=0, ddof=1)
    products = []
    for row in kept("guided", "support"):
        weights = dict(part.split("=") for part in row["preference"].split(","))
        p = np.array([float(weights.get(name, 0)) for name in OBJECTIVES])
        products.append(p @ ((rewards(features([conversation(row)], [row["reply"]]))[0] - mean) / deviation))
    assert len(products) == 6 * 7
    refusal, replies = heads.heads["refusal"], kept("guided", "support")
    chosen = refusal(features([conversation(row) for row in replies], [row["reply"] for row in replies])).argmax(1)
    refused = chosen > 0  # A degenerate reply that refuses is a refusal.
    assert metrics.figures["rewards"]["support"]["guided"]["refused"]["mean"] == pytest.approx(np.mean(refused))
    assert metrics.figures["rewards"]["support"]["guided"]["mip"]["mean"] == pytest.approx(np.mean(products), abs=1e-5)
    matrix = np.array(metrics.figures["rewards"]["support"]["guided"]["control_matrix"])
    own = metrics.figures["rewards"]["support"]["guided"]["control"]["truthfulness"]["mean"]
    assert own == pytest.approx(matrix[3, 3] - np.delete(matrix[:, 3], 3).mean())
    assert metrics.figures["rewards"]["support"]["base"]["mip"]["mean"] == pytest.approx(0, abs=1e-9)


def test_the_divergence_is_of_each_reply_under_its_own_preference(finished):
    path, out, metrics = finished
    variants = open_variants(read_config(path))
    found = []
    for line in (out / "replies" / "guided" / "support.jsonl").read_text().splitlines()[1:]:
        row = json.loads(line)
        asked, said = (
            [{"role": role, "content": text}]
            for role, text in (("user", MILD[int(row["prompt"]) - 1]), ("assistant", row["reply"]))
        )
        prompt, reply = templated(variants.tokenizer, asked, said)
        ids = torch.tensor([prompt + reply])
        model = variants.open("guided").likelihoods(Preference.parse(row["preference"]))
        with torch.no_grad():
            own, base = (one(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for one in (model, variants.base))
        terms = torch.where(own.isinf(), 0.0, own.exp() * (own - base))  # Tokens outside the safe set.
        found.append(terms.sum(-1).mean().item())
    assert len(found) == 6 * 7
    assert metrics.capability["guided"]["divergence"]["mean"] == pytest.approx(np.mean(found), abs=1e-5)


def test_what_no_judge_can_tell_is_not_drawn(finished, tmp_path):
    _, out, metrics = finished
    metrics = Metrics.read(out / "metrics.json")
    column = metrics.objectives.index("truthfulness")
    for own in metrics.figures["rewards"]["support"].values():
        for row in own.get("control_matrix", []):
            row[column] = None
        for means in own["means"].values():
            means[column] = None
    assert "control-support.png" in draw_all(metrics, tmp_path / "some")
    for own in metrics.figures["rewards"]["support"].values():
        own["mip"] = "not measurable with this judge"
    assert not {"control-support.png", "fronts-support.png"} & set(draw_all(metrics, tmp_path / "none"))


def test_the_folder_holds_what_a_reader_needs(finished):
    _, out, metrics = finished
    page = (out / "report.html").read_text()
    assert "http" not in page  # It opens offline.
    for said in ("mild harm", "guided", "in words", "non judgmental", "data:image/png;base64,"):
        assert said in page
    pictures = {file.name for file in (out / "pictures").iterdir()}
    assert pictures == {"harm.png", "refusals-labelled.png", "control-support.png", "fronts-support.png"}
    assert (out / "replies" / ".gitignore").read_text() == "*\n"
    results = json.loads((out / "eval_results" / "guided.json").read_text())["model-index"][0]["results"]
    by_metric = {one["metrics"][0]["type"]: one["metrics"][0]["value"] for one in results}
    assert by_metric["asr"] == round(metrics.figures["harm"]["mild harm"]["guided"]["asr"]["mean"], 4)
    assert {"refusal_rate", "mip", "hypervolume", "perplexity", "multiple_choice", "divergence"} <= set(by_metric)
    assert "divergence" not in metrics.capability["base"]
    capability = metrics.capability
    assert capability["guided"]["divergence"]["mean"] > 0
    assert capability["guided"]["divergence_tempered"] != capability["guided"]["divergence"]
    assert capability["base"]["perplexity_tempered"] == capability["base"]["perplexity"]
    assert "in words" not in metrics.capability
    replies = [file.read_text() for file in out.glob("replies/*/*.jsonl")]
    said = [json.loads(line)["reply"] for text in replies for line in text.splitlines()[1:]]
    assert not any(reply in page for reply in said if len(reply) > 12)


def test_a_killed_run_goes_on(tmp_path, saved_arm, monkeypatch):
    path = write_config(tmp_path, saved_arm)
    whole = run(path, tmp_path / "whole")
    asked = []
    from hf_prosocial.evaluation.reply_store import ReplyStore

    append = ReplyStore.append

    def killed(store, replies):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(store.path)
        append(store, replies)

    monkeypatch.setattr(ReplyStore, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "killed")
    monkeypatch.setattr(ReplyStore, "append", append)
    again = run(path, tmp_path / "killed")
    assert json.dumps(again.figures) == json.dumps(whole.figures)
    assert again.differences == whole.differences


def test_two_evaluations_do_not_share_a_folder(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    out = tmp_path / "out"
    with one_writer(out), pytest.raises(FileExistsError, match=f"another process is writing out in {tmp_path}"):
        run(path, out)
    assert list(out.iterdir()) == []


def test_a_missing_benchmark_is_named_and_leaves_nothing(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    (tmp_path / "harm.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"the benchmark mild harm: no file .*harm\.jsonl"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_replies_to_other_prompts_are_refused(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    run(path, tmp_path / "out")
    write_lines(tmp_path / "harm.jsonl", [{"prompt": text, "category": "a"} for text in MILD[:4]])
    with pytest.raises(ValueError, match=r"mild harm.jsonl was begun with other settings \(\{'prompts'"):
        run(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "guided"}, "must heed no preference"),
        ({"reference": "none"}, "'none' is none of the variants"),
        ({"benchmark": {}}, "keys that nothing reads: benchmark"),
        ({"variants": {"base": {}, "a/b": {}}}, "cannot name a folder"),
        ({"variants": {"base": {"beta": "much"}}}, "variants.base.beta"),
        ({"variants": {"base": {}, "x": {"arm": "a", "genarm": "b"}}}, "by an arm or by a genarm"),
        ({"variants": {"base": {}, "x": {"scale": 2}}}, "but no vector"),
        ({"rewards": {"kind": "endpoint", "model": "m", "input_price": 1}}, "give a price_cap"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_bad_configurations_are_told(tmp_path, saved_arm, changes, message):
    path = write_config(tmp_path, saved_arm, **changes)
    with pytest.raises(ValueError, match=message):
        read_config(path)


STUDY = Path(__file__).parents[2] / "study" / "smollm2"


@pytest.mark.parametrize("recipe", sorted((STUDY / "recipes").rglob("*.yaml")), ids=lambda file: file.stem)
def test_recipes_can_be_read(recipe):
    if "variants:" not in recipe.read_text():
        pytest.skip("no evaluation")
    config = read_config(recipe)
    assert set(config.variants) >= {config.reference, "base"}


def test_overhead_is_measured_in_turn(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm, overhead={"prompts": 2, "new_tokens": 3, "repeats": 2})
    metrics = run(path, tmp_path / "out")
    assert metrics.overhead["base"] == {"ratio": 1, "least": 1, "most": 1}
    guided = metrics.overhead["guided"]
    assert 0 < guided["least"] <= guided["ratio"] <= guided["most"]
    assert "Decoding overhead" in (tmp_path / "out" / "report.html").read_text()


def test_gains_are_drawn_over_how_far_strengths_move(tmp_path, saved_arm):
    strengths = {f"β {beta}": {"arm": str(saved_arm[1]), "beta": beta} for beta in (0.1, 2)}
    path = write_config(tmp_path, saved_arm, variants={"base": {}, **strengths}, capability=write_capability(tmp_path))
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"benchmarks": {"support": config["benchmarks"]["support"]}}))
    metrics = run(path, tmp_path / "out")
    weak, strong = (metrics.capability[name]["divergence_tempered"]["mean"] for name in strengths)
    assert 0 < weak < strong
    assert (tmp_path / "out" / "pictures" / "gains-support.png").is_file()


def test_a_benchmark_may_be_for_some_variants(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    config = yaml.safe_load(path.read_text())
    config["benchmarks"]["mild harm"]["variants"] = ["guided"]
    path.write_text(yaml.safe_dump(config))
    metrics = run(path, tmp_path / "out")
    assert list(metrics.figures["harm"]["mild harm"]) == ["base", "guided"]
    assert list(metrics.figures["over_refusal"]["labelled"]) == ["base", "guided", "in words"]
    config["benchmarks"]["mild harm"]["variants"] = ["odd"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"answered by \['odd'\], which are no variants"):
        read_config(path)


def test_a_reward_model_without_the_attribute_is_refused(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    heads = Heads.load(tmp_path / "heads")
    rewards = heads.heads["rewards"]
    other = replace(rewards, names=("warmth", *rewards.names[1:]))
    Heads({**heads.heads, "rewards": other}, heads.record).save(tmp_path / "heads")
    with pytest.raises(ValueError, match=r"none for \['empathy'\]"):
        run(path, tmp_path / "out")


def test_a_scorer_of_nan_is_refused(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    heads = Heads.load(tmp_path / "heads")
    broken = replace(heads.heads["rewards"], bias=np.full(5, np.nan, dtype=np.float32))
    Heads({**heads.heads, "rewards": broken}, heads.record).save(tmp_path / "heads")
    with pytest.raises(
        ValueError,
        match="replies to 6 of 6 prompts of support have no reward, among them base's to support:1, support:2",
    ):
        run(path, tmp_path / "out")


def test_an_empty_benchmark_is_refused(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm)
    (tmp_path / "harm.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no prompt"):
        run(path, tmp_path / "out")


PLAIN_CARD = "---\nlicense: mit\n---\n# A model\n\n## Limits\n"


def test_a_card_has_the_references_figures_beside_a_variants(finished):
    _, out, metrics = finished
    guided = ModelCard(with_evaluation(PLAIN_CARD, out / "eval_results" / "guided.json")).text
    assert "| benchmark | figure | base | guided |" in guided
    harm = metrics.figures["harm"]["mild harm"]
    before, after = (round(harm[name]["asr"]["mean"], 4) for name in ("base", "guided"))
    assert f"| mild harm | attack success rate | {before} | {after} |" in guided
    divergence = round(metrics.capability["guided"]["divergence"]["mean"], 4)
    assert f"| capability | divergence |  | {divergence} |" in guided
    base = ModelCard(with_evaluation(PLAIN_CARD, out / "eval_results" / "base.json")).text
    assert "| benchmark | figure | value |" in base


def test_a_card_tells_of_figures_that_are_not_finite(finished, tmp_path):
    _, out, metrics = finished
    content = json.loads((out / "eval_results" / "guided.json").read_text())
    by_metric = {one["metrics"][0]["type"]: one["metrics"][0] for one in content["model-index"][0]["results"]}
    by_metric["mip"]["value"], by_metric["perplexity"]["value"] = 0.25, None
    (tmp_path / "guided.json").write_text(json.dumps(content))
    card = ModelCard(with_evaluation(PLAIN_CARD, tmp_path / "guided.json"))
    perplexity = round(metrics.capability["base"]["perplexity"]["mean"], 4)
    assert f"| perplexity | {perplexity} | not finite |" in card.text
    mip = round(metrics.figures["rewards"]["support"]["base"]["mip"]["mean"], 4) + 0.0
    assert f"| mean inner product of preference and rewards | {mip} | 0.25 |" in card.text
    told = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert told["mip"] == 0.25
    assert "perplexity" not in told
