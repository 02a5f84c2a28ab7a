"""Row numbers in memory or mapped from a file."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from llm_embedder_data.rows.source_rows.row_numbers import numbers_where


def chosen_of(n_rows):
    return np.random.default_rng(n_rows).random(n_rows) < 0.7


def own_memory():
    """This process' own memory, bytes, without the pages of mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return int(status.read_text().partition("RssAnon:")[2].split()[0]) * 1024


@pytest.mark.parametrize("n_rows", [0, 1, 1000, 400_000])
def test_row_numbers_are_the_chosen_rows(n_rows, tmp_path):
    chosen = chosen_of(n_rows)

    numbers = numbers_where(chosen, tmp_path)

    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, np.flatnonzero(chosen))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(numbers)), numbers)


def test_row_numbers_of_many_rows_take_no_memory(tmp_path):
    chosen = np.ones(20_000_000, bool)
    before = own_memory()

    numbers = numbers_where(chosen, tmp_path)

    assert own_memory() - before < numbers.nbytes / 4
    assert [path.suffix for path in tmp_path.iterdir()] == [".bin"]
    assert numbers[-1] == len(chosen) - 1


def test_row_numbers_stay_in_memory_if_the_folder_is_read_only(tmp_path):
    chosen = chosen_of(400_000)

    numbers = numbers_where(chosen, tmp_path / "missing")

    np.testing.assert_array_equal(numbers, np.flatnonzero(chosen))


def test_row_numbers_are_pickled_as_their_file_name_and_keep_no_file_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))

    numbers = numbers_where(np.ones(400_000, bool), tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before
    pickled = pickle.dumps(numbers)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled), numbers)
    assert type(numbers[np.array([3, 5])]) is np.ndarray
    part = pickle.loads(pickle.dumps(numbers[7:9]))
    assert part.tolist() == [7, 8]
