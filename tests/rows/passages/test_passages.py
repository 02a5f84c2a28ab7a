"""The passages of corpora: found by id, numbered, and read from a mapped file."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import DataError
from llm_embedder_data.core import hash_order
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.passages import passage_building, passage_files
from llm_embedder_data.rows.passages.passage_building import Passage, passages_in
from llm_embedder_data.rows.passages.passage_files import IdsOfLines, PassageFile, PassagesByLine
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import RawRecord
from llm_embedder_data.rows.schema.same_texts import first_same_passages, first_same_texts

IDS = st.text("ab1é\ud800", max_size=3)
TEXTS = st.text("xyé ", min_size=1, max_size=4)
CORPUS = st.lists(st.tuples(IDS, TEXTS), max_size=30)


def built(folder, pairs, *, skips=True):
    passages = [
        Passage(one, text, ("c.jsonl", RawRecord(None, row, row + 1)))
        for row, (one, text) in enumerate(pairs)
    ]
    digests = {"c.jsonl": repr(pairs)}
    return passages_in(
        Path(folder), digests, None, lambda: passages, name="c", skips_bad_rows=skips
    )


def in_order(pairs):
    """{id: text}, of repeated ids the first."""
    found = {}
    for one, text in pairs:
        found.setdefault(one, text)
    return found


@tried(30)
@given(CORPUS, st.lists(IDS, max_size=9), st.integers(1, 4))
def test_a_corpus_is_a_mapping_in_the_order_of_its_file(pairs, asked, at_once):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(passage_building, "_PASSAGES_AT_ONCE", at_once)
        patch.setattr(hash_order, "_SORTED_AT_ONCE", at_once)
        patch.setattr(passage_files, "_IDS_AT_ONCE", at_once)
        expected, found = in_order(pairs), built(folder, pairs)

        assert dict(found) == expected
        assert list(found) == list(expected)
        assert len(found) == len(expected)
        assert [found.get(one) for one in asked] == [expected.get(one) for one in asked]
        assert [one in found for one in asked] == [one in expected for one in asked]
        if expected:
            assert list(IdsOfLines(found)) == list(expected)
            by_line = PassagesByLine(found.path)
            assert list(by_line.items()) == [
                (str(line), text) for line, text in enumerate(expected.values())
            ]
            assert not {"-1", "01", "x", str(len(expected))} & set(by_line)
            assert by_line.find(["-1", "01", "x", str(len(expected))]).tolist() == [-1] * 4


@tried(30)
@given(CORPUS.filter(bool))
def test_arrays_of_numbers_are_those_of_the_texts(pairs):
    with tempfile.TemporaryDirectory() as folder:
        texts, found = [text for _, text in pairs], built(folder, pairs)
        numbers = np.arange(len(pairs))

        assert found.texts(numbers) == texts
        assert found.n_bytes(numbers).tolist() == [len(text.encode()) for text in texts]
        assert found.text_ids.tolist() == text_ids(texts).tolist()
        assert found.first_same.tolist() == [texts.index(text) for text in texts]
        counts = found.header["counts"]
        assert sum(counts.values()) == len(pairs) - len(found)
        assert pickle.loads(pickle.dumps(found)).texts(numbers) == texts


@tried(20)
@given(st.lists(CORPUS, min_size=1, max_size=3), st.data())
def test_several_corpora_are_numbered_one_after_the_other(corpora, data):
    with tempfile.TemporaryDirectory() as folder:
        files = [built(folder, [*pairs, ("own", f"t{n}")]) for n, pairs in enumerate(corpora)]
        found = Passages(files)
        texts = [t for n, pairs in enumerate(corpora) for t in (*(t for _, t in pairs), f"t{n}")]
        numbers = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=9)), int)

        assert len(found) == len(texts)
        assert found.texts(numbers) == [texts[number] for number in numbers]
        assert found.text_ids(numbers).tolist() == text_ids(found.texts(numbers)).tolist()
        assert found.n_bytes(numbers).tolist() == [len(t.encode()) for t in found.texts(numbers)]
        first, chosen = found.first_same(numbers).tolist(), found.texts(numbers)
        is_same = [[one == other for one in chosen] for other in chosen]
        assert [[one == other for one in first] for other in first] == is_same
        assert found.add(files[0]) == 0
        lists = pa.chunked_array([pa.array([numbers.tolist(), []], pa.list_(pa.int32()))])
        assert found.lists(lists.slice(0, 1)).to_pylist() == [found.texts(numbers)]
        assert found.lists(lists.slice(1)).to_pylist() == [[]]


@given(st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=5))
def test_passages_of_a_row_are_the_same_where_their_texts_are(rows):
    flat = [key for row in rows for key in row]
    offsets = np.append(0, np.cumsum(list(map(len, rows))))
    row_of_key = np.repeat(np.arange(len(rows)), list(map(len, rows)))

    found = first_same_passages(np.array(flat, int), offsets, row_of_key)

    texts = pa.array([f"text {key}" for key in flat], pa.string())
    assert found.tolist() == first_same_texts(texts, offsets, row_of_key).tolist()
    assert found.dtype == np.int32


def test_ids_with_the_hash_of_another_are_told_apart(tmp_path, monkeypatch):
    def one_of_two(content):
        return xxhash.xxh3_64(content).intdigest() % 2

    for module in (passage_building, passage_files):
        monkeypatch.setattr(module.xxhash, "xxh3_64_intdigest", one_of_two)
    pairs = [(f"d{i}", f"text {i}") for i in range(20)]

    found = built(tmp_path, [*pairs, ("d3", "again")])

    assert dict(found) == dict(pairs)
    assert "d20" not in found


def test_an_id_that_stands_twice_is_an_error_at_the_first_repeat(tmp_path):
    pairs = [("a", "x"), ("b", "y"), ("c", "z"), ("c", "z"), ("b", "other"), ("b", "y")]

    with pytest.raises(DataError, match=r"line 4\).*'c'.*twice.*the same text as at line 3; in 3"):
        built(tmp_path, pairs, skips=False)
    assert not list(tmp_path.glob("passages-*"))  # nothing is left of it
    counts = built(tmp_path, pairs).header["counts"]
    assert sorted(counts.values()) == [1, 2]


def test_a_lone_surrogate_in_a_text_is_an_error_at_its_line_or_counted(tmp_path):
    pairs = [("a", "x"), ("b", "y \ud83d")]

    with pytest.raises(DataError, match=r"line 2\).*lone surrogate"):
        built(tmp_path, pairs, skips=False)
    assert dict(built(tmp_path, pairs)) == {"a": "x"}


def test_a_damaged_file_is_written_again(tmp_path):
    pairs = [("a", "x"), ("b", "y")]
    path = built(tmp_path, pairs).path
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(FileNotFoundError):
        PassageFile(path)
    assert dict(built(tmp_path, pairs)) == dict(pairs)
