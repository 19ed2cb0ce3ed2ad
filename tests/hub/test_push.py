"""Publishing over real HTTP, to a stand-in of the Hub; what must not be published is refused."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from support.checkpoints import save_copies, tensors_of
from support.stand_in import TOKEN, StandIn

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.finetune import mark_copy
from hf_prosocial.hub import render
from hf_prosocial.records import (
    COPY_KIND,
    BaseUsed,
    CopyRecord,
    Interval,
    MarginSummary,
    ObjectiveMargins,
    PairsUsed,
    TrainingRecord,
)


@pytest.fixture
def hub():
    with StandIn() as server:
        yield server


@pytest.fixture
def safe(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    vector = HarmVector.extract(base, harmful, 0.1)
    vector.save_pretrained(tmp_path / "vector")
    return vector.subtract(base, 0.5, tmp_path / "safe")


def python(hub, tmp_path, code, *arguments, token=TOKEN):
    """Run code against the stand-in: huggingface_hub reads the address when it is imported."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hf-home"),
        "HF_TOKEN": token,
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


PUSH = "from hf_prosocial.cli import app; app()"
OPTIONS = ("--base-model", "org/base", "--licence", "apache-2.0")


def snippet(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)


def test_a_safe_checkpoint_goes_up_and_comes_down_again(hub, safe, tmp_path):
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe-model", *OPTIONS)
    assert done.returncode == 0, done.stderr
    files = hub.repositories["me/safe-model"]
    assert done.stdout.strip() == f"{hub.url}/me/safe-model/commit/{hub.sha('me/safe-model')}"
    assert set(files) == {file.name for file in safe.iterdir()} | {"README.md", "harm-vector.png"}
    assert files["model.safetensors"] == (safe / "model.safetensors").read_bytes()
    assert files["harm-vector.png"].startswith(b"\x89PNG")
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == "org/base"
    assert card.data.base_model_relation == "finetune"
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "transformers")
    record = json.loads(files["prosocial.json"])
    for fact in ("λ = 0.5", "density 0.1", record["vector"]["base_hash"], "![harm-vector](harm-vector.png)"):
        assert fact in card.text
    ran = python(hub, tmp_path, snippet(card.content))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    again = python(hub, tmp_path, PUSH, "push", safe, "me/safe-model", *OPTIONS)
    assert again.returncode == 0, again.stderr
    assert hub.commits["me/safe-model"] == 2


PUSH_VECTOR = """
import sys
from hf_prosocial import HarmVector
from hf_prosocial.hub import push
vector = HarmVector.from_pretrained(sys.argv[1])
print(push(vector, "me/vector", base_model="org/base", licence="apache-2.0"))
"""


@pytest.mark.parametrize("way", ["command", "function"])
def test_a_vector_goes_up_and_comes_down_again(hub, safe, tmp_path, way):
    commands = {"command": [PUSH, "push", tmp_path / "vector", "me/vector", *OPTIONS]}
    commands["function"] = [PUSH_VECTOR, tmp_path / "vector"]
    done = python(hub, tmp_path, *commands[way])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/me/vector/commit/{hub.sha('me/vector')}"
    files = hub.repositories["me/vector"]
    assert set(files) == {"harm_vector.safetensors", "README.md", "prosocial.json", "harm-vector.png"}
    code = "import sys\nfrom hf_prosocial import HarmVector\nvector = HarmVector.from_pretrained('me/vector')\n"
    code += "vector.subtract(sys.argv[1], 0.5, sys.argv[2])"
    ran = python(hub, tmp_path, code, tmp_path / "base", tmp_path / "again")
    assert ran.returncode == 0, ran.stderr
    for name, weights in tensors_of(tmp_path / "again").items():
        assert weights.equal(tensors_of(safe)[name])


def test_an_arm_goes_up_and_comes_down_again(hub, saved_arm, tmp_path):
    base, adapter = saved_arm
    arm = tmp_path / "arm"
    arm.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (arm / name).write_bytes((adapter / name).read_bytes())
    refused = python(hub, tmp_path, PUSH, "push", arm, "me/arm", *OPTIONS)
    assert (refused.returncode, "lacks training.json" in refused.stderr) == (1, True)
    some = Interval(0.75, 0.5, 0.9, 3)
    record = TrainingRecord(
        command=["prosocial", "arm", "train"],
        recipe={"base": "/local/base", "objectives": ["empathy", "sensitivity"]},
        training={"seed": 0},
        base=BaseUsed("a directory", None),
        data={"train.jsonl": "0" * 64},
        pairs=PairsUsed({"empathy": 3}, {}),
        versions={"torch": "2"},
        log=[],
        dev=MarginSummary({"empathy": ObjectiveMargins(3, *[some] * 8)}, 0.75, [[0.1]], [[0.2]]),
    )
    record.write(arm / "training.json")
    done = python(hub, tmp_path, PUSH, "push", arm, "me/arm", *OPTIONS)
    assert done.returncode == 0, done.stderr
    card = ModelCard(hub.repositories["me/arm"]["README.md"].decode())
    assert "| empathy | 3 | 0.750 [0.500, 0.900] |" in card.text
    assert card.data.eval_results[0].metric_value == 0.75
    for name in ("adapter_config.json", "training.json", "prosocial.json", "README.md"):
        text = hub.repositories["me/arm"][name].decode()
        assert "org/base" in text, name
        assert str(tmp_path) not in text, name
        assert "/local/base" not in text, name
    code = "import sys\nfrom hf_prosocial import load_arm\nload_arm('me/arm', sys.argv[1])"
    ran = python(hub, tmp_path, code, base)
    assert ran.returncode == 0, ran.stderr


def test_a_dry_run_renders_everything_and_sends_nothing(hub, safe, tmp_path):
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS, "--dry-run", tmp_path / "dry")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "dry").iterdir()} == {"README.md", "prosocial.json", "harm-vector.png"}
    assert not hub.requests
    again = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS, "--dry-run", tmp_path / "dry")
    assert again.returncode == 1


@pytest.mark.parametrize("place", [("POST", "/preupload/"), ("POST", "/objects/batch"), ("PUT", "/lfs-store/")])
@pytest.mark.parametrize("fault", [503, "cut"])
def test_a_passing_fault_is_overcome(hub, safe, tmp_path, place, fault):
    hub.faults[place] = [fault]
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert hub.repositories["me/safe"]["model.safetensors"] == (safe / "model.safetensors").read_bytes()
    assert hub.commits["me/safe"] == 1


@pytest.mark.parametrize("fault", [403, 409, 500, "cut"])
def test_a_refused_commit_publishes_nothing_and_the_next_push_resumes(hub, safe, tmp_path, fault):
    hub.faults["POST", "/commit/"] = [fault]
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert "Traceback" not in done.stderr
    # Whether a commit whose answer was lost took place, nobody knows; a refused one leaves nothing behind.
    assert hub.repositories.get("me/safe") == ({} if fault == "cut" else None)
    sent = hub.requests["PUT", "store"]
    assert sent > 0
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in hub.repositories["me/safe"]
    assert hub.requests["PUT", "store"] == sent


def test_a_wrong_token(hub, safe, tmp_path):
    done = python(hub, tmp_path, PUSH, "push", safe, "me/safe", *OPTIONS, token="hf_wrong")
    assert (done.returncode, "401" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
    assert not hub.repositories


def test_what_must_not_be_published(safe, tmp_path):
    options = {"base_model": "org/base", "licence": "mit"}
    mark_copy(tmp_path / "copy", CopyRecord(COPY_KIND, {}))
    (tmp_path / "empty").mkdir()
    HarmVector(tmp_path / "vector" / "harm_vector.safetensors").add(safe, 2.0, tmp_path / "added")
    HarmVector(tmp_path / "vector" / "harm_vector.safetensors").subtract(tmp_path / "base", 0.0, tmp_path / "nothing")
    shutil.copytree(safe, tmp_path / "negative")
    record = json.loads((safe / "prosocial.json").read_text())
    (tmp_path / "negative" / "prosocial.json").write_text(json.dumps(record | {"scale": -0.5}))
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "prosocial.json").write_text("{")
    shutil.copytree(safe, tmp_path / "linked")
    (tmp_path / "linked" / "notes.txt").symlink_to(tmp_path / "base" / "config.json")
    for folder, message in (
        ("linked", "has links to files elsewhere, which are not pushed: notes.txt"),
        ("copy", "a fine-tuned copy; it may comply with harmful requests and is never pushed"),
        ("added", "had a harm vector added to it"),
        ("negative", "had a harm vector added to it"),
        ("nothing", "had a harm vector subtracted 0 times"),
        ("lora", r"holds a LORA adapter; of adapters, only an ARM"),
        ("harmful", "nothing else is pushed"),
        ("empty", "nothing else is pushed"),
        ("broken", "is not JSON"),
    ):
        with pytest.raises(ValueError, match=message):
            render(tmp_path / folder, tmp_path / "dry", "me/it", **options)
    with pytest.raises(FileNotFoundError):
        render(tmp_path / "nowhere", tmp_path / "dry", "me/it", **options)
    with pytest.raises(ValueError, match="is called organisation/name"):
        render(safe, tmp_path / "dry", "it", **options)
    with pytest.raises(ValueError, match="give the base's id"):
        render(safe, tmp_path / "dry", "me/it", licence="mit")
    with pytest.raises(ValueError, match=r"guides by an ARM adapter; .*safe holds a safe checkpoint"):
        render(safe, tmp_path / "dry", "me/it", custom_generate=True, **options)
    assert not (tmp_path / "dry").exists()


def test_an_evaluation_goes_into_the_card(safe, tmp_path):
    results = [
        EvalResult(
            "text-generation", "mild", "mild", "asr", 0.25, metric_name="attack success rate", dataset_config="a"
        ),
        EvalResult("text-generation", "mild", "mild", "mip", 0.5, metric_name="mean inner product", dataset_config="b"),
    ]
    file = tmp_path / "safe.json"
    file.write_text(json.dumps({"model-index": eval_results_to_model_index("safe", results)}))
    options = {"base_model": "org/base", "licence": "mit", "evaluation": file}
    render(safe, tmp_path / "dry", "me/it", **options)
    card = ModelCard.load(tmp_path / "dry" / "README.md")
    values = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert values["asr"] == 0.25
    assert values["mip"] == 0.5
    assert "| mild | attack success rate | 0.25 |" in card.text
    assert card.text.index("## Evaluation") < card.text.index("## Limits")
    file.write_text("{}")
    with pytest.raises(ValueError, match="holds no evaluation"):
        render(safe, tmp_path / "again", "me/it", **options)
