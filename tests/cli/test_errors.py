"""Every error of a command ends in one line that says what to do; `--debug` shows where it comes from."""

import os
import subprocess
import sys

import pytest
import typer
from jinja2 import TemplateError
from typer.testing import CliRunner

from hf_prosocial import __version__
from hf_prosocial.cli import app
from hf_prosocial.cli.errors import ReportingGroup
from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import BaseSource

FOREIGN = [
    TypeError,
    AttributeError,
    TemplateError,
    KeyError,
    RuntimeError,
    ValueError,
    AssertionError,
    ZeroDivisionError,
]


def failing(error):
    one = typer.Typer(cls=ReportingGroup)

    @one.callback()
    def nothing() -> None:
        pass

    @one.command()
    def fail() -> None:
        raise error

    return one


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_foreign_errors_end_in_one_line(kind):
    error = kind("something odd\nand a long story")
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {kind.__name__}: ")
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", [0, 1])
def test_debug_shows_the_traceback_wherever_it_stands(place):
    arguments = ["fail"]
    arguments.insert(place, "--debug")
    result = CliRunner().invoke(failing(KeyError("odd")), arguments)
    assert isinstance(result.exception, KeyError)


def test_own_errors_name_the_commands_flags():
    error = ProsocialError("another base; pass allow_mismatch=['base_weights'] to go on")
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.stderr == "error: another base; pass --allow-mismatch base_weights to go on\n"


def test_files_and_missing_extras():
    missing = FileNotFoundError(2, "No such file or directory", "pairs.jsonl")
    assert CliRunner().invoke(failing(missing), ["fail"]).stderr == "error: No such file or directory: pairs.jsonl\n"
    for module, extra in (("moocore", "evaluate"), ("matplotlib", "report")):
        error = ModuleNotFoundError(f"No module named {module!r}", name=module)
        assert f"pip install 'hf-prosocial[{extra}]'" in CliRunner().invoke(failing(error), ["fail"]).stderr


def test_the_packages_own_file_errors_are_told_as_they_stand():
    error = FileExistsError("safe exists; choose another place, or overwrite it")
    said = CliRunner().invoke(failing(error), ["fail"]).stderr
    assert said == "error: safe exists; choose another place, or give --overwrite\n"


def test_a_mistyped_directory_at_the_command(tmp_path):
    result = CliRunner().invoke(app, ["generate", "hello", "--base", str(tmp_path / "bsae")])
    assert (result.exit_code, f"no directory {tmp_path}/bsae" in result.stderr) == (1, True)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "hello", "-p", "emphaty=1"], "emphaty"),
        (["generate", "hello", "--allow-mismatch", "weights"], "--allow-mismatch may name"),
        (["demo", "--allow-mismatch", "weights"], "--allow-mismatch may name"),
        (["direg", "extract", "--density", "0.1", "base", "harmful", "out"], "the options follow the three files"),
        (["direg", "extract", "base", "harmful", "out", "--densty", "0.1"], "--densty"),
        (["direg", "finetune", "--learning_rat", "1"], "--learning_rat"),
        (["arm", "train", "--learning_rate", "much"], "much"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_options_are_told_in_one_line_before_a_model_is_loaded(arguments, said, monkeypatch):
    monkeypatch.setattr(BaseSource, "load_model", lambda *_: pytest.fail("a model was loaded"))
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert said in result.stderr


def test_the_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{__version__}\n"


def test_a_console_of_few_characters():
    """What it has no character for is shown by its number, in help and in what is found."""
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "COLUMNS": "120"}
    for arguments, said in ((["generate", "--help"], r"\u03bb, the multiple of it"), (["demo", "--help"], r"\u03bb")):
        command = [sys.executable, "-c", "from hf_prosocial.cli import app; app()", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
        assert said in result.stdout.decode("cp1252")
