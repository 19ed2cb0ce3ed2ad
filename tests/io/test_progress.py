"""What long work says where there is no terminal."""

import time

from hf_prosocial.io import progress, progress_bar


def test_short_work_says_nothing_in_a_log(capsys):
    with progress_bar(3, "margins", "pair") as bar:
        for _ in range(3):
            bar.update()
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_AT_FIRST", 0.05)
    monkeypatch.setattr(progress, "_BETWEEN", 0.1)
    with progress_bar(12, "margins", "pair", done=2) as bar:
        for _ in range(10):
            time.sleep(0.03)
            bar.update()
    said = capsys.readouterr().err
    assert "margins: 100%" in said
    assert "12/12" in said
    assert 2 <= said.count("pair/s") <= 6
