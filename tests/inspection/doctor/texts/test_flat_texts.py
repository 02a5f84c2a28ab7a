from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts

TEXTS = st.lists(st.text(max_size=5), min_size=1, max_size=6)


def strings(texts):
    return [texts[at] for at in range(len(texts))]


@given(st.lists(TEXTS, min_size=1, max_size=4), st.data())
def test_a_column_in_chunks_and_slices_gives_its_texts(chunks, data):
    kind = data.draw(st.sampled_from([pa.string(), pa.large_string()]))
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in chunks])
    first = data.draw(st.integers(0, len(column) - 1))
    lists = pa.chunked_array([pa.array([chunk, [], chunk[:1]]) for chunk in chunks])

    assert strings(FlatTexts.of_column(column[first:])) == column[first:].to_pylist()
    assert strings(FlatTexts.of_lists(lists[1:])) == list(
        chain.from_iterable(lists[1:].to_pylist())
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_slice_of_an_array_gives_its_texts_and_no_others(kind):
    texts = pa.array(["left out", "déjà", "", "vu", "left out too"], kind)
    lists = pa.array([["left out"], ["déjà", ""], ["vu"], ["left out too"]], pa.list_(kind))

    assert strings(FlatTexts.of_column(pa.chunked_array([texts[1:4]]))) == ["déjà", "", "vu"]
    assert strings(FlatTexts.of_lists(pa.chunked_array([lists[1:3]]))) == ["déjà", "", "vu"]


@given(TEXTS, st.data())
def test_chosen_packed_and_windowed_texts_are_the_same_strings(texts, data):
    flat = FlatTexts.of(texts)
    marks = [data.draw(st.booleans()) for _ in texts]
    chosen = [text for text, mark in zip(texts, marks, strict=True) if mark]

    packed = flat.chosen(flat.lengths >= 0).chosen(np.array(marks, bool)).packed()

    assert strings(packed) == chosen
    assert packed.content.tobytes().decode() == "".join(chosen)
    windows = [strings(packed.window(one)) for one in packed.windows(7)]
    assert list(chain.from_iterable(windows)) == chosen


@given(TEXTS)
def test_fingerprints_are_xxh3_of_utf_8(texts):
    flat = FlatTexts.of(texts)

    assert flat.fingerprints().tolist() == [xxhash.xxh3_64_intdigest(one.encode()) for one in texts]
    assert flat.first_bytes().tolist() == [one.encode()[0] if one else 0 for one in texts]
