"""Token tables: each distinct text once, whole or not at all, taken up where a build stopped."""

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.batches.token_cache import growing_table
from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.batches.token_cache.table_building import build_table
from llm_embedder_data.batches.token_cache.text_index import GrowingTextIndex
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.core.checked_json import write_checked_json
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.hashing import text_ids


def letters(texts):
    """A token a character."""
    return [[ord(letter) % 60_000 for letter in text] for text in texts]


def blocks_of(rows, size=3):
    def blocks(first):
        for start in range(first, len(rows), size):
            part = rows[start : start + size]
            keys = [key for _, own in part for key in own]
            n_keys = np.array([len(own) for _, own in part])
            yield RowBlock(len(part), {"query": [q for q, _ in part], "key": keys}, {"key": n_keys})

    return blocks


PREFIXES = {"query": "", "key": ">"}
ROWS = st.lists(
    st.tuples(st.text("abé日", max_size=4), st.lists(st.text("abé日", max_size=4), max_size=4)),
    min_size=1,
    max_size=12,
)


def build(folder, rows, tokenize=letters, **settings):
    settings |= {"n_ids": lambda: 60_000}
    return build_table(folder, blocks_of(rows), PREFIXES, tokenize, **settings)


def ids_of(table, numbers):
    return [table.ids[table.bounds[n] : table.bounds[n + 1]].tolist() for n in numbers]


def check(table, rows):
    """Every text of the rows is found under its number, and no text twice."""
    texts = {"query": [q for q, _ in rows], "key": [key for _, own in rows for key in own]}
    for column, own in texts.items():
        numbers = table.array(column)
        assert ids_of(table, numbers) == letters([PREFIXES[column] + text for text in own])
        assert table.text_ids[numbers].tolist() == text_ids(own).tolist()
        assert ids_of(table, [table.empty[column]]) == letters([PREFIXES[column]])
    ends = np.cumsum([len(own) for _, own in rows]).tolist()
    assert table.array("key_bounds").tolist() == [0, *ends]
    put = {PREFIXES[column] + text for column, own in texts.items() for text in [*own, ""]}
    assert len(table) == len(put)


@given(rows=ROWS)
def test_a_table_has_every_text_once_under_its_number(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("t") / "table"

    check(build(folder, rows), rows)

    assert build(folder, rows, tokenize=None).file == folder  # there already
    assert [path.name for path in folder.parent.iterdir()] == ["table"]


@given(
    hashes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60),
    size=st.integers(1, 7),
)
def test_an_index_finds_what_was_added_however_slots_collide(tmp_path_factory, hashes, size):
    index = GrowingTextIndex(tmp_path_factory.mktemp("i"))
    known = {}
    for start in range(0, len(hashes), size):
        part = list(dict.fromkeys(hashes[start : start + size]))
        # The same slot for all, near the end of the table: probes go round it.
        array = np.array([(4095 + 4096 * a, b) for a, b in part], np.uint64).reshape(-1, 2)
        found = index.find(array)
        assert found.tolist() == [known.get(one, -1) for one in part]
        new = index.add(array[found < 0])
        assert new.tolist() == list(range(len(known), len(known) + len(new)))
        known |= zip([one for one in part if one not in known], new.tolist(), strict=True)
        assert index.find(array).tolist() == [known[one] for one in part]


def test_an_index_grows_and_is_read_again(tmp_path):
    hashes = np.random.default_rng(3).integers(0, 2**64, (30_000, 2), np.uint64)
    index = GrowingTextIndex(tmp_path)
    for part in np.array_split(hashes, 7):
        index.add(part)

    again = GrowingTextIndex(tmp_path, 29_000)  # as one finds it whose last texts do not count

    assert index.find(hashes).tolist() == list(range(30_000))
    assert again.find(hashes).tolist() == [*range(29_000), *[-1] * 1000]


def test_a_text_of_another_table_is_not_tokenized_again(tmp_path):
    first, second = [("ab", ["cd", "ef"])], [("ab", ["gh", "cd"]), ("new", [])]
    build(tmp_path / "first", first)
    asked = []

    table = build(tmp_path / "second", second, lambda texts: asked.extend(texts) or letters(texts))

    check(table, second)
    assert sorted(asked) == [">gh", "new"]


def test_many_different_ids_are_kept_whole(tmp_path):
    table = build_table(
        tmp_path / "t",
        lambda first: iter([RowBlock(1, {"text": ["a"]})]),
        {"text": ""},
        lambda texts: [[250_000] * len(text) for text in texts],
        n_ids=lambda: 250_001,
    )

    assert ids_of(table, table.array("text")) == [[250_000]]


LONG = [(f"query {i}", [f"key {i % 50} {k}" for k in range(4)]) for i in range(900)]


@pytest.fixture(autouse=True)
def small_records(monkeypatch):
    monkeypatch.setattr(growing_table, "_RECORD_EVERY", 100)


def stopped_build(folder, n_rows, stop):
    """One that is stopped after so many rows."""
    done = 0

    def progress(n):
        nonlocal done
        done += n
        if done >= n_rows:
            stop()

    build(folder, LONG, progress=progress)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise KeyError("stop")


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


def test_a_killed_build_is_taken_up_beside_other_tables(tmp_path):
    build(tmp_path / "some.bin", LONG[:300])
    build(tmp_path / "others.bin", LONG[850:])
    process = multiprocessing.get_context("fork").Process(
        target=stopped_build, args=(tmp_path / "t.bin", 500, kill)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    asked, done = [], []

    table = build(
        tmp_path / "t.bin",
        LONG,
        lambda texts: asked.extend(texts) or letters(texts),
        progress=done.append,
    )

    check(table, LONG)
    assert done[0] >= 380  # rows that are not read again
    known = {f"query {i}" for i in [*range(300), *range(850, 900)]}
    assert not known & set(asked)


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


def test_a_file_that_was_cut_off_is_found_out_and_made_again(tmp_path):
    build(tmp_path / "t", LONG)
    os.truncate(tmp_path / "t", 100)

    with pytest.raises(FileNotFoundError):
        TokenTable(tmp_path / "t")
    check(build(tmp_path / "t", LONG), LONG)


def test_what_was_left_long_ago_is_deleted_and_what_is_being_made_is_not(tmp_path):
    left, alive = (tmp_path / f"other.{name}.building" for name in ("left", "alive"))
    for place in (left, alive):
        place.mkdir()
        write_checked_json(place / "owner.json", "another machine")
    write_checked_json(left / "owner.json", os.uname().nodename)
    for place in (left, alive):
        os.utime(place, (0, 0))

    build(tmp_path / "t", LONG)

    assert not left.exists()
    assert alive.exists()


def test_a_build_that_another_process_finishes_meanwhile_is_no_hindrance(tmp_path):
    # Its folder is renamed between being listed and being looked at: so it is there, and is not.
    (tmp_path / "other.renamed.building").symlink_to("nowhere")

    check(build(tmp_path / "t", LONG), LONG)


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


def test_a_finished_table_needs_no_permission_to_write(tmp_path):
    build(tmp_path / "t", LONG)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(tmp_path / "t", copy / "t")
    copy.chmod(0o555)

    check(build(copy / "t", LONG, tokenize=None), LONG)
