"""An index finds the number of each text that was added."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.batches.token_cache.text_index import GrowingTextIndex


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
        assert found.tolist() == [known.get(text_hash, -1) for text_hash in part]
        new = index.add(array[found < 0])
        assert new.tolist() == list(range(len(known), len(known) + len(new)))
        new_hashes = [text_hash for text_hash in part if text_hash not in known]
        known |= zip(new_hashes, new.tolist(), strict=True)
        assert index.find(array).tolist() == [known[text_hash] for text_hash in part]


def test_an_index_grows_and_is_read_again(tmp_path):
    hashes = np.random.default_rng(3).integers(0, 2**64, (30_000, 2), np.uint64)
    index = GrowingTextIndex(tmp_path)
    for part in np.array_split(hashes, 7):
        index.add(part)

    again = GrowingTextIndex(tmp_path, 29_000)  # as one finds it whose last texts do not count

    assert index.find(hashes).tolist() == list(range(30_000))
    assert again.find(hashes).tolist() == [*range(29_000), *[-1] * 1000]
