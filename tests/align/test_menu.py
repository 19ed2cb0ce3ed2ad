import subprocess

import pytest

from hf_prosocial.align import Aligned
from hf_prosocial.align.terminal import ask_next
from hf_prosocial.records import AlignRecord


@pytest.fixture
def aligned(tmp_path):
    made = {"arm": "arm", "gated vector": "gated-harm-vector"}
    return Aligned(tmp_path, AlignRecord("my/base", {"guide_base": None}, made=made), None)


def answered(monkeypatch, aligned, *lines):
    """The commands that a menu runs for these answers."""
    left, ran = iter(lines), []
    monkeypatch.setattr("builtins.input", lambda prompt: next(left))
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command[3:]))
    ask_next(aligned)
    return ran


def test_the_menu_runs_what_is_chosen_until_nothing_is(monkeypatch, aligned, tmp_path, capsys):
    ran = answered(monkeypatch, aligned, "1", "3", "me", "2", "")
    assert ran == [
        ["chat", str(tmp_path)],
        ["push", str(tmp_path / "gated-harm-vector"), "me/gated-harm-vector"],
        ["serve", "my/base", "--arm", str(tmp_path / "arm")],
    ]
    assert "4. push the arm" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["", "0", "9", "chat", "-1"])
def test_other_answers_end_it(monkeypatch, aligned, answer):
    assert answered(monkeypatch, aligned, answer) == []
