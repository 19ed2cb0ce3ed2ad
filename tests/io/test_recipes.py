"""One parser of recipes: a file, options over it, null, and every mistake told."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io.recipes import parse_fields


@dataclass
class Recipe:
    data: str
    rate: float = 0.5
    steps: int | None = 3
    kind: Literal["one", "other"] = "one"
    names: list[str] = field(default_factory=list)
    quick: bool = False
    nested: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: a.jsonl\nrate: 5.0e-4\nsteps: null\nnames: [x, y]\nnested: {a: 1}\n")
    return path


@pytest.mark.parametrize("joined", [True, False])
def test_a_file_and_options_over_it(file, joined):
    given = [f"--config={file}"] if joined else ["--config", str(file)]
    assert parse_fields(given, Recipe) == Recipe("a.jsonl", 5e-4, None, "one", ["x", "y"], False, {"a": 1})
    over = [*given, "--rate", "1e-3", "--steps=7", "--kind", "other", "--names", "z", "--quick", "--nested", "{b: 2}"]
    assert parse_fields(over, Recipe) == Recipe("a.jsonl", 1e-3, 7, "other", ["z"], True, {"b": 2})
    assert parse_fields([*given, "--steps", "5", "--steps", "null"], Recipe).steps is None


def test_without_a_file(file):
    assert parse_fields(["--data", "b.jsonl"], Recipe) == Recipe("b.jsonl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: a\nrat: 1\n", "has keys that nothing reads: rat"),
        ("data: a\nrate: quick\nkind: third\n", "rate: .*; kind: "),
        ("data: [\n", "is not YAML"),
        ("- data\n", "must hold `key: value` lines"),
        ("rate: 1\n", "data"),
    ],
)
def test_mistakes_are_told(tmp_path, text, said):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ProsocialError, match=said):
        parse_fields([f"--config={tmp_path / 'bad.yaml'}"], Recipe)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        parse_fields([f"--config={tmp_path / 'none.yaml'}"], Recipe)
