"""A folder appears complete or not at all."""

import os
import signal
import subprocess
import sys
import time

import pytest

from llm_embedder_data.core.atomic_folder import atomic_folder


def write(path, text="new", **settings):
    with atomic_folder(path, **settings) as folder:
        (folder / "sub").mkdir()
        (folder / "sub/file").write_text(text)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_appears_with_all_its_files_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("text")
        assert not (tmp_path / "out").exists()

    assert names(tmp_path) == ["out", "out/file"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_leaves_what_was_there(tmp_path, overwrite):
    if overwrite:
        write(tmp_path / "out", "old")
    before = names(tmp_path)

    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out", overwrite=overwrite):
        raise ZeroDivisionError

    assert names(tmp_path) == before


def test_files_are_replaced_only_if_that_is_asked_for(tmp_path):
    write(tmp_path / "out", "old")

    with pytest.raises(OSError, match="out"):
        write(tmp_path / "out")

    assert (tmp_path / "out/sub/file").read_text() == "old"
    write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/sub/file").read_text() == "new"
    assert names(tmp_path) == ["out", "out/sub", "out/sub/file"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()

    write(tmp_path / "out")

    assert (tmp_path / "out/sub/file").exists()


def test_what_a_killed_process_left_is_deleted_by_the_next_and_a_living_one_is_let_be(tmp_path):
    program = f"""
from pathlib import Path
from llm_embedder_data.core.atomic_folder import atomic_folder
with atomic_folder(Path({str(tmp_path)!r}) / "out") as folder:
    (folder / "file").write_text("half")
    print("ready", flush=True)
    input()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    assert len(names(tmp_path)) == 2 * 3
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    for path in tmp_path.rglob("*"):  # what is younger may not be locked yet
        os.utime(path, (time.time() - 5,) * 2)

    write(tmp_path / "out")

    assert len(list(tmp_path.glob("out.*.part"))) == 1
    processes[1].communicate("\n")
    assert processes[1].returncode == 1  # the name is taken now
    assert names(tmp_path) == ["out", "out/sub", "out/sub/file"]
