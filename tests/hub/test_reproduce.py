"""`prosocial reproduce`: equal hashes where all is as recorded, and a failure wherever it is not."""

import json
import shutil

import pytest
from support.checkpoints import save_copies
from typer.testing import CliRunner

from hf_prosocial.cli import app
from hf_prosocial.direg import HarmVector, write_text_gradient
from hf_prosocial.hub import Reproduction, render


def run(*arguments):
    return CliRunner().invoke(app, ["reproduce", *(str(argument) for argument in arguments)])


@pytest.fixture
def made(tmp_path, tokenizer):
    """A base, its harmful copy, a vector and a safe checkpoint; the checkpoint's record."""
    base, harmful = save_copies(tmp_path, tokenizer, sharded=True)
    (tmp_path / "text.txt").write_text("i am sad you can ask me take your time " * 5)
    write_text_gradient(base, tmp_path / "text.txt", tmp_path / "gradient.safetensors")
    vector = HarmVector.extract(
        base,
        harmful,
        0.2,
        protect=tmp_path / "gradient.safetensors",
        protected=0.01,
        compact=True,
        out=tmp_path / "vector.safetensors",
    )
    return vector.subtract(base, 0.5, tmp_path / "safe") / "prosocial.json"


def test_a_safe_checkpoint(made, tmp_path):
    comparisons = Reproduction(made).check()
    shards = len(list((tmp_path / "safe").glob("*.safetensors")))
    assert shards > 3
    assert len(comparisons) == 2 * shards + 2
    assert all(comparison.holds for comparison in comparisons)
    result = run(made, "--check")
    assert result.exit_code == 0, result.output
    assert "DIFFERS" not in result.stdout
    result = run(made, tmp_path / "again")
    assert result.exit_code == 0, result.output
    for file in (tmp_path / "safe").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_what_differs_is_named(made, tmp_path, tokenizer):
    file = sorted((tmp_path / "safe").glob("*.safetensors"))[2]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    result = run(made, "--check")
    assert (result.exit_code, f"not as recorded: beside the record: {file.name}" in result.stderr) == (1, True)
    assert "DIFFERS" in result.stdout
    file.unlink()
    result = run(made, "--check")
    assert (result.exit_code, "MISSING" in result.stdout) == (1, True)
    other = HarmVector.extract(tmp_path / "base", tmp_path / "harmful", 0.1, out=tmp_path / "other.safetensors")
    failed = [one.what for one in Reproduction(made, vector=str(other.file)).check() if not one.holds]
    assert failed == [f"beside the record: {file.name}", "the vector's entries"]
    failed = [one.what for one in Reproduction(made, base=str(tmp_path / "harmful")).check() if not one.holds]
    assert failed == [f"beside the record: {file.name}", "the base's weights"]


def test_a_vector(made, tmp_path):
    HarmVector(tmp_path / "vector.safetensors").save_pretrained(tmp_path / "published")
    render(tmp_path / "published", tmp_path / "dry", "me/it", base_model="org/base", licence="mit")
    shutil.copy(tmp_path / "vector.safetensors", tmp_path / "dry" / "harm_vector.safetensors")
    record = tmp_path / "dry" / "prosocial.json"
    comparisons = Reproduction(record).check()
    assert [comparison.holds for comparison in comparisons] == [True, True]
    (again,) = Reproduction(record).make(tmp_path / "again.safetensors")
    assert again.holds
    # Its entries are compared and not its file, which also says by which versions it was made.
    shutil.copy(tmp_path / "again.safetensors", tmp_path / "dry" / "harm_vector.safetensors")
    assert Reproduction(record).check()[0].holds
    other = HarmVector.extract(tmp_path / "base", tmp_path / "harmful", 0.1)
    other.save_pretrained(tmp_path / "dry")
    assert [comparison.holds for comparison in Reproduction(record).check()] == [False, True]


def test_bad_input(made, tmp_path):
    refused = run(made)
    assert (refused.exit_code, "either --check or a place" in refused.stderr) == (1, True)
    for content, message in (("nonsense", "is not JSON"), ("{}", "records nothing"), ("[]", "holds no JSON object")):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            Reproduction(tmp_path / "bad.json").check()
    (tmp_path / "bad.json").write_text(json.dumps({"made_by": "HarmVector.add", "format": 9}))
    with pytest.raises(ValueError, match="has the format 9, but this version of hf_prosocial reads 1"):
        Reproduction(tmp_path / "bad.json").check()
    used = {"used": {}, "malformed": {}}
    arm = {"made_by": "prosocial arm train", "command": ["prosocial", "arm"], "recipe": {}, "training": {}, "data": {}}
    arm |= {"base": {"source": "", "weight_hashes": None}, "pairs": used, "versions": {}, "dev": None, "sha256": {}}
    (tmp_path / "bad.json").write_text(json.dumps({"format": 1, **arm}))
    with pytest.raises(ValueError, match="run it again: prosocial arm"):
        Reproduction(tmp_path / "bad.json").make(tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        Reproduction(tmp_path / "none.json").check()
