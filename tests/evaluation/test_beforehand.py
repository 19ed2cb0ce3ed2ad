"""What can be known before a model is loaded and a reply is made is refused by then."""

import pytest
import yaml
from support.small_evaluation import MILD, write_capability, write_config, write_lines

from hf_prosocial.evaluation import evaluate, read_config
from hf_prosocial.models import BaseSource

ENDPOINT = {"kind": "endpoint", "model": "judge", "url": "http://127.0.0.1:9/v1"}


@pytest.fixture
def refused(tmp_path, saved_arm, monkeypatch):
    """Runs an evaluation with changes to its recipe; returns what it is refused for, without a model loaded."""

    def no_loading(*_, **__):
        raise AssertionError("a model was loaded")

    def run(**changes):
        path = write_config(tmp_path, saved_arm, **changes)
        monkeypatch.setattr(BaseSource, "load", no_loading)
        with pytest.raises((ValueError, OSError)) as caught:
            evaluate(read_config(path), tmp_path / "out")
        assert not (tmp_path / "out" / "replies").exists()
        return str(caught.value)

    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": {"kind": "guard", "model": "m"}}, "tells nothing of rewards"),
        ({"harm": {"kind": "arm"}}, "an ARM gives rewards"),
        ({"refusal": {"kind": "guard", "model": "m"}}, "tells nothing of refusal"),
        ({"rewards": {"kind": "arm", "arm": "no/such/arm"}}, "no/such/arm"),
        ({"refusal": {"kind": "embedded", "heads": "no/such/heads"}}, "no/such/heads"),
        ({"variants": {"base": {}, "x": {"arm": "no/such/arm"}}}, "no/such/arm"),
        ({"variants": {"base": {}, "x": {"genarm": "no/such/genarm"}}}, "no/such/genarm"),
        ({"variants": {"base": {}, "x": {"vector": "no/such/vector", "scale": 1}}}, "no/such/vector"),
        ({"base": "no/such/base"}, "no/such/base"),
        ({"variants": {"base": {}, "x": {"vector": "./nope", "scale": 1}}}, "no directory ./nope, and no Hub id"),
        ({"variants": {"base": {}, "x": {"arm": "./nope"}}}, "no directory ./nope, and no Hub id"),
        ({"capability": {"text": "no.txt", "questions": "no.jsonl"}}, "no.txt"),
        ({"win_rate": ENDPOINT | {"url": None, "key_variable": "NO_KEY"}}, "NO_KEY holds no key"),
        ({"harm": {"kind": "template", "model": "m", "template": "no.txt", "answers": {"yes": "harmful"}}}, "no.txt"),
    ],
    ids=str,
)
def test_what_is_not_there_or_cannot_be_asked(refused, tmp_path, monkeypatch, changes, message):
    (tmp_path / "no" / "such").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert message in refused(**changes)


def test_the_parts_of_capability(refused, tmp_path):
    capability = write_capability(tmp_path)
    (tmp_path / "text.txt").write_text("\n \n")
    assert "holds no text" in refused(capability=capability)


def test_answers_of_another_judge(refused, tmp_path):
    (tmp_path / "out" / "answers").mkdir(parents=True)
    for role in ("harm", "win_rate"):
        file = tmp_path / "out" / "answers" / f"{role}.jsonl"
        file.write_text('{"model": "another", "url": null, "max_tokens": 16}\n')
        assert "answers of another model or request" in refused(**{role: ENDPOINT})
        file.unlink()


def test_objectives_of_ones_own_without_a_reward(refused, tmp_path, saved_arm, tokenizer):
    from support.models import random_arm

    arm = random_arm("llama", seed=3, objectives=("patience", "clarity"))
    arm.save_pretrained(tmp_path / "own")
    own = {"base": {}, "own": {"arm": str(tmp_path / "own")}}
    benchmarks = yaml.safe_load(write_config(tmp_path, saved_arm).read_text())["benchmarks"]
    support = {"support": benchmarks["support"] | {"preferences": ["uniform"]}}
    assert "none for ['patience', 'clarity']" in refused(variants=own, benchmarks=support)
    assert "no words to ask for patience, clarity" in refused(variants=own, benchmarks=support, rewards=ENDPOINT)


@pytest.mark.parametrize("label", ["Safe", "unsafe", None])
def test_labels_that_tell_no_over_refusal(refused, tmp_path, saved_arm, label):
    benchmarks = yaml.safe_load(write_config(tmp_path, saved_arm).read_text())["benchmarks"]
    rows = [{"prompt": text, "label": label if row else "unsafe"} for row, text in enumerate(MILD)]
    file = write_lines(tmp_path / "other.jsonl", rows)
    labelled = {"labelled": benchmarks["labelled"] | {"file": file}}
    assert "is told by prompts labelled 'safe' and 'unsafe'; its labels are" in refused(benchmarks=labelled)


@pytest.mark.parametrize("name", ["_hidden", ".", "a\nb", "a:b", " "])
def test_names_that_cannot_be_kept_or_drawn(tmp_path, saved_arm, name):
    path = write_config(tmp_path, saved_arm, variants={"base": {}, name: {}})
    with pytest.raises(ValueError, match="cannot name a folder and a line of a legend"):
        read_config(path)


def test_a_dollar_sign_in_a_name_is_drawn(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm, variants={"base": {}, r"$\frac 5$": {"in_words": True}})
    config = yaml.safe_load(path.read_text())
    config["benchmarks"] = {r"costs $5, $\q": config["benchmarks"]["mild harm"]}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="cannot name"):
        read_config(path)
    config["benchmarks"] = {r"costs $5^$": config["benchmarks"][r"costs $5, $\q"]}
    config["variants"] = {"base": {}, "$_{5$": {"in_words": True}}
    path.write_text(yaml.safe_dump(config))
    evaluate(read_config(path), tmp_path / "out")
    assert (tmp_path / "out" / "pictures" / "harm.png").is_file()
