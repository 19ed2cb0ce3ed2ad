"""`prosocial direg` on a tiny model."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from support.checkpoints import save_copies, tensors_of
from support.completions import completion_rows
from typer.testing import CliRunner

from hf_prosocial.cli import app
from hf_prosocial.direg import HarmVector


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
    assert (wrong.exit_code, "scope: Input should be 'model' or 'tensor'" in wrong.stderr) == (1, True)


def test_subtract_needs_no_torch(copies, tmp_path):
    base, harmful = copies
    file = tmp_path / "vector.safetensors"
    HarmVector.extract(base, harmful, 0.2, out=file)
    code = "import sys\nfrom hf_prosocial.cli import app\ntry:\n    app()\nexcept SystemExit as done:\n"
    code += (
        "    assert done.code == 0\nassert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'heavy imports'"
    )
    command = [sys.executable, "-c", code, "direg", "subtract", file, base, tmp_path / "safe", "--scale", "1"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
    assert "delete it when the vector has been made" in done.stderr
    result = run("extract", copies[0], tmp_path / "copy", tmp_path / "vector.safetensors", "--density", 0.01)
    assert result.exit_code == 0, result.output


def write_sweep_data(tmp_path):
    """Rows, text and questions, and a recipe's part that names them."""
    rows = [row | {"prompt": f"{row['prompt'][0]['content']} {index}"} for index, row in enumerate(completion_rows())]
    rows = [row | {"completion": row["completion"][0]["content"]} for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("i am sad you can ask me take your time " * 5)
    question = {"question": "what is it", "options": "A. no idea\nB. thank you", "answer": "B. thank you"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    files = {
        "harmful_rows": "rows.jsonl",
        "benign_rows": "rows.jsonl",
        "text": "text.txt",
        "questions": "questions.jsonl",
    }
    return {name: str(tmp_path / file) for name, file in files.items()} | {"held_out": 0.5}


def sweep(tmp_path, recipe, *options):
    """The command, by a recipe and options over it."""
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(recipe))
    return run("sweep", "--config", tmp_path / "sweep.yaml", *options)


def test_sweep_of_every_kind(tmp_path, tokenizer):
    base, harmful, benign = save_copies(tmp_path, tokenizer, copies=("base", "harmful", "benign"))
    data = write_sweep_data(tmp_path)
    gradient = tmp_path / "gradient.safetensors"
    result = run("gradient", base, tmp_path / "text.txt", gradient, "--tokens", 20)
    assert result.exit_code == 0, result.output
    assert "19 tokens" in result.stdout
    recipe = data | {"base": str(base), "harmful": str(harmful), "out": str(tmp_path / "sweep"), "benign": str(benign)}
    recipe |= {"protect": str(gradient), "protected": 0.01, "densities": [0.1], "scales": [0.5]}
    result = sweep(tmp_path, recipe)
    assert result.exit_code == 0, result.output
    vectors = {file.stem: HarmVector(file).record for file in (tmp_path / "sweep").glob("*.safetensors")}
    assert set(vectors) == {"plain-0.1", "contrast-0.1", "contrast-protected-0.1"}
    assert [bool(vectors[name].benign) for name in sorted(vectors)] == [True, True, False]
    assert vectors["contrast-protected-0.1"].protection.gradient.text.endswith("text.txt")
    result = sweep(tmp_path, recipe, "--kinds", "contrast-protected", "--scales", 0.5, 1)
    assert result.exit_code == 0, result.output
    assert "plain" not in result.stdout
    labelled = [
        {"prompt": [{"role": "user", "content": "hello"}], "label": "safe"},
        {"prompt": "no", "label": "unsafe"},
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in labelled))
    half = recipe | {"out": str(tmp_path / "half"), "safe_prompts": str(tmp_path / "prompts.jsonl")}
    half |= {"contrasts": [0.5], "kinds": ["contrast0.5-protected"]}
    result = sweep(tmp_path, half)
    assert result.exit_code == 0, result.output
    assert "refusals of safe prompts" in result.stdout
    assert HarmVector(tmp_path / "half" / "contrast0.5-protected-0.1.safetensors").record.contrast == 0.5
    choice = json.loads((tmp_path / "half" / "choice.json").read_text())
    assert "prompts.jsonl" in choice["data"]
    assert "refusals of safe prompts +0.05 at most" in choice["reason"]
    assert (tmp_path / "half" / "front-refusals-of-safe-prompts.png").is_file()
    (tmp_path / "prompts.jsonl").write_text(json.dumps(labelled[1]))
    wrong = sweep(tmp_path, half)
    assert (wrong.exit_code, "no prompt is labelled 'safe'" in wrong.stderr) == (1, True)
    again = sweep(tmp_path, recipe, "--protected", 0.02)
    assert (again.exit_code, "choose another folder" in again.stderr) == (1, True)
    wrong = sweep(tmp_path, recipe, "--kinds", "sparse")
    assert (wrong.exit_code, "no kind sparse" in wrong.stderr) == (1, True)


def test_sweep_and_its_choice(copies, tmp_path):
    base, harmful = copies
    recipe = write_sweep_data(tmp_path) | {"base": str(base), "harmful": str(harmful), "out": str(tmp_path / "sweep")}
    recipe |= {"densities": [0.1, 1], "scales": [0.5]}
    result = sweep(tmp_path, recipe, "--text_limit", 100, "--benign_limit", 100)
    assert result.exit_code == 0, result.output
    assert "raises harmful replies most" in result.stdout
    choice = json.loads((tmp_path / "sweep" / "choice.json").read_text())
    assert choice["chosen"]["vector"] in ("plain-0.1", "plain-1")
    for picture in ("front-text.png", "front-benign-replies.png"):
        assert (tmp_path / "sweep" / picture).is_file()
    result = run("subtract", tmp_path / "sweep", base, tmp_path / "safe", "--scale", "auto")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "safe" / "prosocial.json").read_text())
    assert (record["scale"], {"format": 1, **record["evidence"]}) == (0.5, choice)
    assert (tmp_path / "safe" / "front-text.png").is_file()
    options = ["--base-model", "org/base", "--licence", "mit", "--dry-run", str(tmp_path / "dry")]
    result = CliRunner().invoke(app, ["push", str(tmp_path / "safe"), "me/safe", *options])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "dry" / "README.md").read_text()
    assert choice["reason"] in card
    assert "![front-text](front-text.png)" in card
    assert f"| harmful replies | {choice['base']['figures']['harmful replies']:.4f} |" in card
    assert run("save", tmp_path / "sweep", tmp_path / "published").exit_code == 0
    result = run("subtract", tmp_path / "published", base, tmp_path / "safe-again", "--scale", "auto")
    assert result.exit_code == 0, result.output
    assert tensors_of(tmp_path / "safe-again").keys() == tensors_of(tmp_path / "safe").keys()
    for name, weights in tensors_of(tmp_path / "safe").items():
        assert torch.equal(tensors_of(tmp_path / "safe-again")[name], weights)
    options[-1] = str(tmp_path / "dry-vector")
    result = CliRunner().invoke(app, ["push", str(tmp_path / "published"), "me/vector", *options])
    assert result.exit_code == 0, result.output
    card = (tmp_path / "dry-vector" / "README.md").read_text()
    for fact in (choice["reason"], "![front-text](front-text.png)", "scale=0.5", "| harmful replies |"):
        assert fact in card
    again = sweep(tmp_path, recipe, "--text_limit", 100, "--benign_limit", 0)
    assert again.exit_code == 0, again.output
    assert "no point raises harmful replies within the limits" in again.stdout
    refused = run("subtract", tmp_path / "sweep", base, tmp_path / "other", "--scale", "auto")
    assert (refused.exit_code, "chose the base" in refused.stderr) == (1, True)
    assert run("save", tmp_path / "sweep", tmp_path / "never").exit_code == 1
    refused = run("subtract", tmp_path, base, tmp_path / "other", "--scale", "auto")
    assert (refused.exit_code, "run `prosocial direg sweep`" in refused.stderr) == (1, True)
    refused = run("subtract", tmp_path, base, tmp_path / "other", "--scale", "lots")
    assert (refused.exit_code, "a number or auto" in refused.stderr) == (1, True)
