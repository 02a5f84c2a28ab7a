"""Files that appear whole, and one process at a time."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time

import pytest

from llm_embedder_data.core import files
from llm_embedder_data.core.files import atomic_file, locked

FORK = multiprocessing.get_context("fork")
HOUR = 3600


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch):
    """A process looks into a folder for what others left now and then only."""
    monkeypatch.setattr(files, "_looked_at", {})


def write(path, content):
    with atomic_file(path) as file:
        file.write(content)


def test_a_file_appears_when_it_is_whole(tmp_path):
    with atomic_file(tmp_path / "a") as file:
        file.write(b"whole")
        file.flush()
        [part] = names(tmp_path)

    assert part.startswith("a.")
    assert part.endswith(".part")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_an_error_leaves_the_old_file_and_no_part(tmp_path):
    write(tmp_path / "a", b"old")

    with pytest.raises(TypeError, match="bytes-like"):
        write(tmp_path / "a", "new")

    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def stop_while_writing(path, wrote):
    with atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        wrote.set()
        signal.pause()


@pytest.fixture
def writer(tmp_path):
    """A process that wrote half of ``a``, and its part, which looks untouched for an hour."""
    wrote = FORK.Event()
    process = FORK.Process(target=stop_while_writing, args=(tmp_path / "a", wrote))
    process.start()
    assert wrote.wait(30)
    [part] = tmp_path.iterdir()
    os.utime(part, (time.time() - HOUR,) * 2)
    yield process, part
    process.kill()
    process.join()


def test_what_a_killed_process_left_is_deleted_by_the_next_to_write(tmp_path, writer):
    process, part = writer
    process.kill()
    process.join()
    fresh = part.with_name(f"b.{'0' * 32}.part")
    fresh.touch()
    strange = part.with_name("film.mp4.part")
    strange.touch()
    os.utime(strange, (0, 0))
    assert part.exists()

    write(tmp_path / "c", b"another file")

    # What is fresh may be another machine's, and what has no such name is somebody else's.
    assert names(tmp_path) == sorted(["c", fresh.name, strange.name])


def test_what_was_left_moments_ago_is_deleted_if_it_is_this_machine_s(tmp_path, writer):
    """A run that was killed is often started again at once."""
    process, part = writer
    process.kill()
    process.join()
    others = part.with_name(f"b.{'0' * 32}.part")
    others.touch()
    begun = part.with_name(f"c.{part.name[2:]}")
    begun.touch()  # its process may not have locked it yet
    for path in (part, others):
        os.utime(path, (time.time() - 5,) * 2)

    write(tmp_path / "d", b"another file")

    assert names(tmp_path) == sorted([others.name, begun.name, "d"])


def test_the_part_of_a_process_that_lives_stays(tmp_path, writer):
    _, part = writer

    write(tmp_path / "c", b"another file")

    assert names(tmp_path) == sorted([part.name, "c"])


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(("age", "stays"), [(HOUR, True), (25 * HOUR, False)])
def test_without_locks_a_part_stays_for_a_day(tmp_path, monkeypatch, age, stays):
    part = tmp_path / f"a.{'0' * 32}.part"
    part.touch()
    os.utime(part, (time.time() - age,) * 2)
    monkeypatch.setattr(fcntl, "flock", no_locks)

    write(tmp_path / "c", b"another file")

    assert part.exists() == stays


def make_once(path, n_made, barrier):
    barrier.wait(30)
    with locked(path):
        if not path.exists():
            with n_made.get_lock():
                n_made.value += 1
            write(path, b"made")


@pytest.mark.parametrize("n_processes", [2, 4])
def test_of_processes_that_need_a_file_at_once_one_makes_it(tmp_path, n_processes):
    n_made, barrier = FORK.Value("i", 0), FORK.Barrier(n_processes)
    processes = [
        FORK.Process(target=make_once, args=(tmp_path / "a", n_made, barrier))
        for _ in range(n_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * n_processes
    assert n_made.value == 1
    assert names(tmp_path) == ["a"]


def hold(path, holds):
    with locked(path):
        holds.set()
        signal.pause()


def test_nobody_waits_for_ever_for_a_process_that_hangs(tmp_path, caplog):
    holds = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path / "a", holds))
    process.start()
    assert holds.wait(30)

    with locked(tmp_path / "a", patience=0.1):
        write(tmp_path / "a", b"made here")

    assert "a is being made by another process; waiting for it" in caplog.text
    assert "a is made here too: the other process is slow, or does not respond" in caplog.text
    process.kill()  # a killed process holds no lock
    process.join()
    caplog.clear()
    with locked(tmp_path / "a"):
        assert caplog.text == ""


def test_a_folder_without_locks_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)

    with locked(tmp_path / "a"):
        write(tmp_path / "a", b"made")

    assert (tmp_path / "a").read_bytes() == b"made"
