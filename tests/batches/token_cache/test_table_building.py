"""A build that stops, for whatever reason, leaves no table and is continued by the next one."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from table_cases import (
    LONG,
    build,
    check,
    fail,
    kill,
    letters,
    stopped_build,
)

from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.core.errors import DataError


@pytest.mark.parametrize("n_rows", [1, 240, 241, 899])
def test_a_killed_build_is_taken_up_where_it_stood(tmp_path, n_rows):
    folder = tmp_path / "t"
    process = multiprocessing.get_context("fork").Process(
        target=stopped_build, args=(folder, n_rows, kill)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not folder.exists()
    first, asked = [], []

    check(
        build(
            folder,
            LONG,
            lambda texts: asked.extend(texts) or letters(texts),
            progress=first.append,
        ),
        LONG,
    )

    if n_rows > 200:
        assert first[0] >= n_rows - 120  # rows that need not be read again
        assert len(asked) < 1100 - n_rows + 150
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["t"]


def build_killed_behind(folder, name):
    """A process that is killed when a file or folder has got a name."""

    def watched(function):
        def call(source, target):
            function(source, target)
            if Path(target).name == name:
                kill()

        return call

    os.rename, os.replace = watched(os.rename), watched(os.replace)
    build(folder, LONG)


@pytest.mark.parametrize("name", ["state.json", "t.bin"])
def test_a_build_killed_while_it_ends_is_taken_up(tmp_path, name):
    process = multiprocessing.get_context("fork").Process(
        target=build_killed_behind, args=(tmp_path / "t.bin", name)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    check(build(tmp_path / "t.bin", LONG), LONG)
    check(build(tmp_path / "u.bin", LONG), LONG)  # what is not wanted any more goes

    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
    assert left == ["t.bin", "u.bin"]


def test_an_error_in_a_build_is_met_and_leaves_no_table(tmp_path):
    def fails(texts):
        raise KeyError("tokenizer")

    with pytest.raises(KeyError, match="tokenizer"):
        build(tmp_path / "t", LONG, fails)
    with pytest.raises(KeyError, match="stop"):
        stopped_build(tmp_path / "t", 300, fail)

    assert not (tmp_path / "t").exists()
    check(build(tmp_path / "t", LONG), LONG)


def concurrent_build(folder, counts, number):
    def slowly(texts):
        counts[number] += len(texts)
        time.sleep(0.01)
        return letters(texts)

    build(folder, LONG, slowly)


def test_of_processes_that_build_the_same_table_one_does_the_work(tmp_path):
    context = multiprocessing.get_context("fork")
    counts = context.Array("i", 3)
    processes = [
        context.Process(target=concurrent_build, args=(tmp_path / "t", counts, n)) for n in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(counts)[:2] == [0, 0]
    check(TokenTable(tmp_path / "t"), LONG)


def test_a_full_disk_is_said_and_the_build_goes_on_after_it(tmp_path):
    import resource

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        with pytest.raises(DataError, match="token cache could not be written: File too large"):
            build(tmp_path / "t", LONG)

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join(60)

    assert process.exitcode == 0
    assert not (tmp_path / "t").exists()
    check(build(tmp_path / "t", LONG), LONG)
