"""`prosocial direg` on a tiny model."""

import json
import subprocess
import sys

import pytest
import torch
from checkpoints import save_copies, tensors_of
from test_finetune import completion_rows
from typer.testing import CliRunner

from hf_prosocial.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["direg", *(str(argument) for argument in arguments)])


@pytest.fixture
def copies(tmp_path, tokenizer):
    return save_copies(tmp_path, tokenizer)


def test_extract_show_subtract_add(copies, tmp_path):
    base, harmful = copies
    file, safe, again = tmp_path / "vector.safetensors", tmp_path / "safe", tmp_path / "again"
    result = run("extract", base, harmful, file, "--density", 0.2, "--exclude", "*norm*")
    assert result.exit_code == 0, result.output
    assert "entries kept" in result.stdout
    result = run("show", file, "--picture", tmp_path / "harm.png")
    assert result.exit_code == 0, result.output
    assert "share of squared norm" in result.stdout
    assert (tmp_path / "harm.png").is_file()
    assert run("subtract", file, base, safe, "--scale", 0.5).exit_code == 0
    assert run("add", file, safe, again, "--scale", 0.5).exit_code == 0
    for name, weights in tensors_of(base).items():
        torch.testing.assert_close(tensors_of(again)[name], weights)
    refused = run("subtract", file, base, safe, "--scale", 1)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: ")
    assert "exists" in refused.stderr
    assert run("subtract", file, base, safe, "--scale", 1, "--overwrite").exit_code == 0
    wrong = run("extract", base, harmful, tmp_path / "never", "--scope", "layer")
    assert (wrong.exit_code, "--scope is model or tensor" in wrong.stderr) == (1, True)


def test_finetune(copies, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in completion_rows()))
    recipe = tmp_path / "copy.yaml"
    options = {"data": data, "base": copies[0], "r": 2, "max_steps": 2, "per_device_train_batch_size": 4}
    options |= {"use_cpu": True, "report_to": "none", "save_strategy": "'no'"}
    recipe.write_text("".join(f"{name}: {value}\n" for name, value in options.items()))
    # In a process of its own, because the test run's checker does not know TrainingArguments' own types.
    code = "from hf_prosocial.cli import app; app()"
    command = ["-c", code, "direg", "finetune", "--config", recipe, "--output_dir", tmp_path / "copy"]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 rows; 0 malformed" in done.stderr
    assert "delete it when the vector has been made" in done.stdout
    result = run("extract", copies[0], tmp_path / "copy", tmp_path / "vector.safetensors", "--density", 0.01)
    assert result.exit_code == 0, result.output
