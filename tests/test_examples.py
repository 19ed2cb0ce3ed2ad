"""Every example runs as it stands, here on a tiny model."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert not stopped.value.code


@pytest.mark.parametrize("name", ["generate.py", "chat_pipeline.py", "preference_per_row.py"])
def test_generation(name, saved_arm, monkeypatch, capsys):
    base, arm = saved_arm
    run(monkeypatch, name, "--base", base, "--arm", arm, "--max-new-tokens", 5)
    assert capsys.readouterr().out.strip()


def test_training(saved_arm, monkeypatch, capsys, tmp_path):
    run(monkeypatch, "train_arm.py", "--base", saved_arm[0], "--output", tmp_path / "arm", "--max-steps", 2)
    assert "20 pairs (empathy 4" in capsys.readouterr().out
    assert (tmp_path / "arm" / "adapter_model.safetensors").is_file()


def test_baking(saved_arm, monkeypatch, capsys, tmp_path):
    base, arm = saved_arm
    run(monkeypatch, "bake_lora.py", "--base", base, "--arm", arm, "--output", tmp_path / "lora")
    assert "a LoRA of rank 5" in capsys.readouterr().out


def test_all_examples_are_tested():
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
