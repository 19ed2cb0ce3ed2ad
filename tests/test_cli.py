"""The command line on a tiny model: what it prints, where, and how it fails."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.gates import gated_vector, probe_between
from support.models import random_base
from support.rows import rows
from typer.testing import CliRunner

from hf_prosocial import OBJECTIVES, find_base, record_base
from hf_prosocial.cli import app
from hf_prosocial.direg import HarmVector
from hf_prosocial.models import prompt_batch


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def on(saved_arm):
    return "--base", saved_arm[0], "--arm", saved_arm[1]


def test_help_is_quick_and_needs_no_torch():
    code = "import sys; sys.argv = ['prosocial', '--help']\nfrom hf_prosocial.cli import app\n"
    code += "try:\n    app()\nexcept SystemExit:\n    pass\n"
    code += "assert not {'torch', 'transformers', 'peft', 'numpy'} & set(sys.modules), 'heavy imports'"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert seconds < 5  # The goal is 0.5 s on an idle machine; `python -m benchmarks startup` measures it.


def test_demo_prints_plain_text_to_a_pipe(saved_arm):
    result = run("demo", *on(saved_arm), "--max-new-tokens", 3)
    assert result.exit_code == 0, result.output
    assert result.output.count("[base]") == 3
    for title in ("empathy=1", "truthfulness=1", "helpfulness=1", "empathy=0.2,sensitivity=0.2"):
        assert result.output.count(f"[base, guided: {title}") == 3
    assert "\x1b" not in result.output
    assert "the directory" in result.output
    assert "no harm vector" in result.output


@pytest.fixture
def saved_vector(saved_arm, tmp_path):
    """A vector of the saved base: large enough to change what it says."""
    model = random_base("llama", seed=4)
    model.save_pretrained(tmp_path / "harmful")
    return HarmVector.extract(saved_arm[0], tmp_path / "harmful", 0.5, out=tmp_path / "vector.safetensors").file


def test_demo_and_generate_guide_the_safe_base(saved_arm, saved_vector, tmp_path):
    options = ["--vector", saved_vector, "--scale", 2]
    result = run("demo", *on(saved_arm), *options, "--max-new-tokens", 3)
    assert result.exit_code == 0, result.output
    for title in ("[base]", "[safe base]", "[safe base, guided: empathy=1]"):
        assert result.output.count(title) == 3
    safe = HarmVector(saved_vector).subtract(saved_arm[0], 2, tmp_path / "safe")
    edited = run("generate", "hello", *on(saved_arm), *options, "--max-new-tokens", 8, "--beta", 0)
    assert edited.exit_code == 0, edited.output
    assert "less 2 times its harm vector" in edited.stderr
    plain = run("generate", "hello", *on(saved_arm), "--max-new-tokens", 8, "--beta", 0)
    assert edited.stdout != plain.stdout
    allow = ["--allow-mismatch", "base_weights"]
    on_disk = ["--base", safe, "--arm", saved_arm[1], *allow]
    assert run("generate", "hello", *on_disk, "--max-new-tokens", 8, "--beta", 0).stdout == edited.stdout
    none = run("generate", "hello", *on(saved_arm), *options[:2], "--scale", 0, "--max-new-tokens", 8, "--beta", 0)
    assert none.stdout == plain.stdout
    for arguments, message in (
        (["--scale", 1], "λ is 1, but no harm vector was named"),
        (["--vector", saved_vector], "which λ to take; give one"),
        (["--base", safe, *options], "the vector was made for"),
    ):
        refused = run("generate", "hello", *on(saved_arm), *arguments)
        assert (refused.exit_code, message in refused.stderr) == (1, True), refused.output


def test_generate_behind_a_gate_says_whether_it_opened(saved_arm, tmp_path):
    base, tokenizer = find_base(saved_arm[0]).load(torch.float32)
    messages = ["hello", "i am sad", "tell me", "what is it"]
    rows = prompt_batch(tokenizer, [[{"role": "user", "content": text}] for text in messages])
    vector = gated_vector(base, probe_between(base, rows.input_ids, rows.attention_mask))
    record_base(vector.record, base, tokenizer, str(saved_arm[0]))
    vector.save_pretrained(tmp_path)
    opens = vector.scales(base, rows.input_ids, rows.attention_mask) > 0
    assert 0 < opens.sum() < len(messages)
    for message, is_open in zip(messages, opens.tolist(), strict=True):
        length = ["--max-new-tokens", 8, "--beta", 0]
        plain = run("generate", message, *on(saved_arm), *length)
        gated = run("generate", message, *on(saved_arm), "--vector", tmp_path, *length)
        assert gated.exit_code == 0, gated.output
        assert (gated.stdout != plain.stdout) == is_open
        assert ("the gate takes the message for harmful, and is 100 % open" in gated.stderr) == is_open
        assert "where a gate takes the message for harmful" in gated.stderr


def test_generate(saved_arm):
    result = run("generate", "hello", *on(saved_arm), "-p", "empathy=1", "-p", "truthfulness=1", "--max-new-tokens", 4)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("[empathy=1]\n")
    assert "[truthfulness=1]\n" in result.stdout
    assert "base: the directory" in result.stderr
    # Nobody who is in danger is left with the model's reply alone.
    assert "findahelpline.com" in result.stderr
    assert "base:" not in result.stdout
    sampled = [run("generate", "hi", *on(saved_arm), "--temperature", 1, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "empathy=0.5"], "error: weights must sum to 1, found 0.5 (empathy=0.5)"),
        (["-p", "wit=1"], "error: unknown objective 'wit'"),
        (["--beta", "-1"], "error: beta must be a number >= 0"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(saved_arm, arguments, message):
    result = run("generate", "hello", *on(saved_arm), *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not result.stdout


def test_an_arm_of_another_base(saved_arm, tmp_path):
    from support.models import tiny_tokenizer

    random_base("llama", seed=9).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    result = run("generate", "hello", "--base", tmp_path, "--arm", saved_arm[1])
    assert result.exit_code == 1
    assert "accept it by --allow-mismatch base_weights" in result.stderr
    result = run("generate", "hi", "--base", tmp_path, "--arm", saved_arm[1], "--allow-mismatch", "base_weights")
    assert result.exit_code == 0, result.output


def test_ctrl_c_leaves_with_130(saved_arm):
    code = "from hf_prosocial.cli import app; app()"
    command = [sys.executable, "-c", code, "demo", *map(str, on(saved_arm)), "--max-new-tokens", "100"]
    # Shells start what runs in the background with SIGINT ignored, and children inherit that.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heeding)
    line = process.stdout.readline()
    assert line.startswith("base:")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors


@pytest.fixture
def recipe(saved_arm, tmp_path):
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows(OBJECTIVES, 20)))
    lines = {
        "train_data": tmp_path / "pairs.jsonl",
        "dev_data": tmp_path / "pairs.jsonl",
        "base": saved_arm[0],
        "output_dir": tmp_path / "arm",
        "target_modules": ["q_proj", "v_proj"],
        "max_steps": 3,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "report_to": "none",
        "save_steps": 2,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in lines.items()))
    return path


def train(*arguments, command="train"):
    """In a process of its own: transformers gives its arguments values that the checker of this one refuses."""
    command = [sys.executable, "-c", "from hf_prosocial.cli import app; app()", "arm", command, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_train_saves_an_arm_that_guides_its_base_and_a_record(recipe, saved_arm):
    done = train("--config", recipe, "--r1", 2, "--seed", 3, "--logging_steps", 1)
    assert done.returncode == 0, done.stderr
    output = recipe.parent / "arm"
    record = json.loads((output / "training.json").read_text())
    assert record["recipe"]["r1"] == 2
    assert record["training"]["seed"] == 3
    assert record["pairs"]["used"] == dict.fromkeys(OBJECTIVES, 4)
    assert len(record["data"][str(recipe.parent / "pairs.jsonl")]) == 64
    assert len(record["dev"]["control_matrix"]) == 5
    assert "| one-hot p" in done.stderr
    card = (output / "README.md").read_text()
    assert card.startswith("---\nbase_model:")
    assert "| one-hot p" in card
    assert "{{" not in card
    for picture in ("training-curves.png", "training-conflicts.png"):
        assert (output / picture).read_bytes().startswith(b"\x89PNG")
        assert f"]({picture})" in card
    guided = run("generate", "hello", "--base", saved_arm[0], "--arm", output, "--max-new-tokens", 3)
    assert guided.exit_code == 0, guided.output


def test_train_says_what_is_wrong_with_a_recipe(recipe, tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    done = train("--config", tmp_path / "list.yaml")
    assert done.returncode == 1
    assert "must hold `key: value` lines, found list" in done.stderr
    done = train("--config", recipe, "--reference_log_probs", tmp_path / "reference.safetensors")
    assert "without relative_to_base nothing is compared" in done.stderr
    done = train("--config", recipe, "--train_data", tmp_path / "absent.jsonl")
    assert done.returncode == 1
    assert "absent.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_train_resumes_from_the_last_whole_checkpoint(recipe):
    output = recipe.parent / "arm"
    done = train("--config", recipe, "--max_steps", 6, "--save_steps", 2)
    assert done.returncode == 0, done.stderr
    whole = (output / "adapter_model.safetensors").read_bytes()
    # As a kill would leave them: the last one begun, the one before it cut off.
    (output / "checkpoint-6" / "trainer_state.json").unlink()
    cut_off = output / "checkpoint-4" / "adapter_model.safetensors"
    cut_off.write_bytes(cut_off.read_bytes()[:100])
    (output / "adapter_model.safetensors").unlink()
    done = train("--config", recipe, "--max_steps", 6, "--save_steps", 2, "--resume")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert "checkpoint-2" in done.stderr
    assert (output / "adapter_model.safetensors").read_bytes() == whole
    done = train("--config", recipe, "--output_dir", recipe.parent / "other", "--resume")
    assert done.returncode == 0, done.stderr
    assert "no whole checkpoint" in done.stderr


def test_train_keeps_the_bases_log_probabilities(recipe, tmp_path):
    kept = tmp_path / "reference.safetensors"
    options = ("--relative_to_base", "true", "--reference_log_probs", kept, "--max_steps", 1)
    done = train("--config", recipe, *options)
    assert done.returncode == 0, done.stderr
    written = kept.stat().st_mtime_ns
    assert train("--config", recipe, *options, "--seed", 5).returncode == 0
    assert kept.stat().st_mtime_ns == written
    done = train("--config", recipe, *options, "--base_dtype", "bfloat16")
    assert "of other pairs or of another base" in done.stderr


def test_train_genarm_saves_an_adapter_for_each_objective_and_a_record(recipe):
    recipe.write_text(recipe.read_text().replace("max_steps: 3", "num_train_epochs: 2"))
    done = train("--config", recipe, "--r", 3, "--logging_steps", 1, command="train-genarm")
    assert done.returncode == 0, done.stderr
    output = recipe.parent / "arm"
    record = json.loads((output / "training.json").read_text())
    assert record["command"][:3] == ["prosocial", "arm", "train-genarm"]
    assert record["recipe"]["r"] == 3
    assert list(record["log"]) == list(OBJECTIVES)
    assert len(record["dev"]["control_matrix"]) == 5
    assert record["base"]["weight_hashes"] == json.loads((output / "genarm.json").read_text())["base_weight_hashes"]
    assert all((output / name / "adapter_model.safetensors").is_file() for name in OBJECTIVES)
    done = train("--config", recipe, "--r", 3, "--resume", command="train-genarm")
    assert done.returncode == 0, done.stderr
    assert json.loads((output / "training.json").read_text())["dev"] == record["dev"]
    done = train("--config", recipe, "--conflict", "pcgrad", command="train-genarm")
    assert done.returncode != 0
    assert "conflict" in done.stderr
