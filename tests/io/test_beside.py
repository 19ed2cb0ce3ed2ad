"""Writing beside and renaming: nothing that others made is lost, nothing of dead processes stays."""

import errno
import signal
import subprocess
import sys
import textwrap

import pytest

from hf_prosocial.io import claim, directory_beside, file_beside, one_writer, write_text
from hf_prosocial.io import rename as renames


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["linux", "elsewhere"])
def system(request, monkeypatch):
    if request.param == "elsewhere":
        monkeypatch.setattr(renames, "_renamed", lambda *_: False)


def test_a_new_directory(tmp_path, system):
    with directory_beside(tmp_path / "deep" / "out") as work:
        (work / "file").write_text("new")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "file").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


def test_what_appears_meanwhile_is_kept(tmp_path, system):
    out = tmp_path / "out"

    def write():
        with directory_beside(out) as work:
            (work / "file").write_text("ours")
            out.mkdir()
            (out / "theirs").write_text("theirs")

    with pytest.raises(FileExistsError, match="appeared or was changed"):
        write()
    assert (names(tmp_path), names(out)) == (["out"], ["theirs"])


def test_what_stands_there_is_replaced_where_it_may_be(tmp_path, system):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    with pytest.raises(FileExistsError, match="exists; choose another place"), directory_beside(out):
        pass
    assert names(out) == ["old"]
    with directory_beside(out, replace=True) as work:
        (work / "new").write_text("new")
        assert names(out) == ["old"]
    assert (names(tmp_path), names(out)) == (["out"], ["new"])


def test_what_is_added_to_it_meanwhile_is_kept(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(FileExistsError, match="was changed"), directory_beside(out, replace=True):
        (out / "added").write_text("theirs")
    assert (names(tmp_path), names(out)) == (["out"], ["added"])


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "kept").write_text("kept")
    (tmp_path / "out").symlink_to("real")
    with directory_beside(tmp_path / "out", replace=True) as work:
        (work / "new").write_text("new")
    assert names(tmp_path) == ["out", "real"]
    assert (names(tmp_path / "real"), names(tmp_path / "out")) == (["kept"], ["new"])


@pytest.mark.parametrize("beside", [directory_beside, file_beside])
def test_an_error_leaves_nothing(tmp_path, beside):
    def write():
        with beside(tmp_path / "out") as work:
            (work / "half" if work.is_dir() else work).write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert names(tmp_path) == []


def test_a_second_writer_is_refused(tmp_path):
    with directory_beside(tmp_path / "out") as work:
        (work / "file").write_text("first")
        second = directory_beside(tmp_path / "out")
        with pytest.raises(FileExistsError, match=f"another process is writing out in {tmp_path}"):
            second.__enter__()
    with file_beside(tmp_path / "text") as work:
        work.write_text("first")
        with pytest.raises(FileExistsError, match="another process is writing text in"):
            write_text(tmp_path / "text", "second")
    assert (names(tmp_path), (tmp_path / "text").read_text()) == (["out", "text"], "first")


@pytest.mark.parametrize("kind", ["directory_beside", "file_beside"])
def test_what_a_killed_process_left_is_cleared(tmp_path, kind):
    code = f"""
        import time
        from pathlib import Path
        from hf_prosocial.io import {kind}
        with {kind}(Path({str(tmp_path / "out")!r})) as work:
            (work / "half" if work.is_dir() else work).write_text("half")
            print("ready", flush=True)
            time.sleep(60)
    """
    write = directory_beside if kind == "directory_beside" else file_beside
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(FileExistsError, match="another process"):
            write(tmp_path / "out").__enter__()
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    with write(tmp_path / "out") as work:
        assert work.is_file() or names(work) == []
    assert names(tmp_path) == ["out"]


def test_a_folder_has_one_writer(tmp_path):
    with one_writer(tmp_path / "deep" / "out"):
        with pytest.raises(FileExistsError, match="another process is writing out in"):
            one_writer(tmp_path / "deep" / "out").__enter__()
        with one_writer(tmp_path / "deep" / "out", writes=False):
            pass
        (tmp_path / "deep" / "out" / "kept").write_text("kept")
    with one_writer(tmp_path / "deep" / "out"):
        assert names(tmp_path / "deep" / "out") == ["kept"]


@pytest.fixture(params=[errno.EBADF, errno.ENOLCK, errno.ENOSYS, None])
def no_locks(request, monkeypatch):
    """NFS, which has no locks for directories; a system without any."""

    def refuse(*_):
        raise OSError(request.param, "no locks")

    if request.param is None:
        monkeypatch.setattr(claim, "fcntl", None)
    else:
        monkeypatch.setattr(claim.fcntl, "flock", refuse)


def test_where_there_are_no_locks_nothing_of_others_is_cleared(tmp_path, no_locks, caplog):
    with directory_beside(tmp_path / "out") as work:
        (work / "file").write_text("first")
        with pytest.raises(FileExistsError, match=r"\.out\.partial is there, from another process that writes or"):
            directory_beside(tmp_path / "out").__enter__()
    write_text(tmp_path / "text", "text")
    with directory_beside(tmp_path / "out", replace=True) as work:
        (work / "file").write_text("second")
    assert (names(tmp_path), (tmp_path / "out" / "file").read_text()) == (["out", "text"], "second")
    with one_writer(tmp_path / "out"):
        assert "whose file system has no locks" in caplog.text
