"""Slices of an array, wherever they begin."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.slices import slices_at

STARTS = st.lists(st.integers(-9, 30), max_size=6)


@given(st.integers(0, 20), st.integers(0, 9), STARTS, st.sampled_from([np.uint16, np.int64]))
def test_a_slice_has_the_entries_from_its_start_on(n_entries, width, starts, dtype):
    source = np.arange(100, 100 + n_entries, dtype=dtype)

    found = slices_at(source, np.array(starts, np.int64), width)

    assert found.shape == (len(starts), width)
    assert found.dtype == dtype
    for start, run in zip(starts, found.tolist(), strict=True):
        for place, entry in enumerate(run, start=start):
            assert entry == 100 + place or not 0 <= place < n_entries


def test_slices_are_copies():
    source = np.arange(9)

    slices_at(source, np.array([2]), 3)[:] = 0

    assert source.tolist() == list(range(9))
