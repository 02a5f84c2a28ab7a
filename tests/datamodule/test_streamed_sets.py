"""Notes on how often streamed data are fetched give advice that helps."""

import re
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.datamodule.open_data.streamed_sets import traffic_notes
from llm_embedder_data.datamodule.settings.settings import DataSettings

MIB = 1 << 20


def streamed_set(n_rows, n_pieces, piece_mib, kept=1.0):
    n_bytes = int(n_pieces * piece_mib * MIB)
    texts = SimpleNamespace(n_pieces=n_pieces, decoded_bytes=n_bytes, n_bytes=n_bytes // 2)
    return SimpleNamespace(kept=np.arange(int(n_rows * kept)), streamed=texts)


def note(train_set, **settings):
    given_settings = DataSettings(tokenizer="any", train_data="any", **settings)
    return traffic_notes({"a": train_set}, given_settings).get("a")


@given(
    st.integers(1000, 10**7),
    st.integers(2, 5000),
    st.floats(0.1, 50),
    st.floats(0.05, 1),
    st.integers(1, 10**5),
    st.none() | st.integers(16, 10**6),
)
def test_whoever_follows_the_advice_gets_no_further_note(
    n_rows, n_pieces, piece_mib, kept, cache, window
):
    train_set = streamed_set(n_rows, n_pieces, piece_mib, kept)
    said = note(train_set, stream_cache_mib=cache, shuffle_window=window)
    if said is None:
        return
    mib = int(re.search(r"stream_cache_mib=(\d+) keeps all", said)[1])
    assert note(train_set, stream_cache_mib=mib, shuffle_window=window) is None
    if advised := re.search(r"shuffle_window=(\d+) fetches it about once", said):
        better = int(advised[1])
        assert note(train_set, stream_cache_mib=cache, shuffle_window=better) is None


def test_a_row_costs_a_piece_where_all_are_shuffled():
    train_set = streamed_set(100_000, 1000, 10)  # 100 rows a piece

    assert "MB about 90 times" in note(train_set, stream_cache_mib=1000)
    assert "MB about 9 times" in note(
        streamed_set(100_000, 1000, 10, kept=0.1), stream_cache_mib=1000
    )


def test_datasets_share_the_cache():
    train_set = streamed_set(10_000, 100, 10)
    settings = DataSettings(tokenizer="any", train_data="any", stream_cache_mib=1000)

    assert traffic_notes({"a": train_set}, settings) == {}
    assert set(traffic_notes({"a": train_set, "b": streamed_set(10_000, 100, 10)}, settings)) == {
        "a",
        "b",
    }
    of_two_tasks = SimpleNamespace(kept=np.arange(10), streamed=train_set.streamed)
    assert traffic_notes({"a": train_set, "a:b": of_two_tasks}, settings) == {}
