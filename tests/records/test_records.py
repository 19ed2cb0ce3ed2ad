"""Records are read in one place: another version, an unknown key, or a value of the wrong kind is an error."""

import json

import pytest

from hf_prosocial import records
from hf_prosocial.assets import released_arm, released_judges, released_vector
from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import Record, TrainingRecord, read_choice
from hf_prosocial.records import record as module

for name in records.__all__:
    getattr(records, name)  # They are loaded when they are first asked for.


def every_record(kind=Record):
    for one in kind.__subclasses__():
        yield one
        yield from every_record(one)


def test_there_are_several():
    assert {"TrainingRecord", "HeadsRecord", "EditRecord"} <= {one.__name__ for one in every_record()}


@pytest.mark.parametrize("kind", sorted(every_record(), key=lambda one: one.__name__), ids=lambda one: one.__name__)
@pytest.mark.parametrize("version", [None, 0, 2, 99, "1"])
def test_another_version_is_an_error(kind, version, tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({} if version is None else {"format": version}))
    with pytest.raises(ProsocialError, match=rf"{file} has the format .*{version}.* reads 1"):
        kind.read(file)


def test_what_is_released_is_read_and_written_as_it_is(tmp_path):
    for folder, name in ((released_arm(), "training.json"),):
        record = TrainingRecord.read(folder / name)
        record.write(tmp_path / name)
        assert json.loads((tmp_path / name).read_text()) == json.loads((folder / name).read_text())
    assert read_choice(released_vector()).scale == 1.8
    assert json.loads((released_judges() / "heads.json").read_text())["format"] == 1


def test_a_broken_record_says_where(tmp_path):
    content = json.loads((released_arm() / "training.json").read_text())
    with pytest.raises(ProsocialError, match="is no TrainingRecord: mistake: "):
        TrainingRecord.parse(content | {"mistake": 1}, "here")
    key = next(name for name in content if name != "format")
    with pytest.raises(ProsocialError, match=f"is no TrainingRecord: {key}: "):
        TrainingRecord.parse(content | {key: object()}, "here")
    for text, said in (("{", "is not JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ProsocialError, match=said):
            module.read_json(tmp_path / "x.json")
