"""A store gives back the vectors and ids that went in, or says what is missing."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from store_cases import TEXTS, tiny_embedder

from llm_embedder_data import DataError
from llm_embedder_data.core.sealed_files import sealed_file
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.embedding_store import EmbeddingStore, StoreLayout
from llm_embedder_data.mining.store_filling import Share, fill_store

IDS = [f"doc-{i}" for i in range(len(TEXTS))]


@pytest.fixture(scope="module")
def embedder(minilm):
    return tiny_embedder(minilm)


@pytest.fixture(scope="module")
def expected(embedder):
    return embedder.embed(TEXTS)


@pytest.fixture
def filled(tmp_path, embedder):
    return fill_store(tmp_path, ListedTexts(TEXTS, IDS), embedder, command="embed it\tagain")


# The largest error of rounding to a type, of numbers up to 1.
ERRORS = {"float32": 2e-7, "float16": 2**-11, "bfloat16": 2**-8}


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("texts", [TEXTS, sorted(set(TEXTS))], ids=["equal", "distinct"])
def test_vectors_and_ids_come_back(tmp_path, embedder, texts, dtype):
    expected = embedder.embed(texts)

    store = fill_store(tmp_path, ListedTexts(texts), embedder, dtype=dtype).open()

    vectors = store.vectors()
    assert vectors.dtype == np.float32
    assert len(store) == len(texts)
    assert store.width == expected.shape[1]
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=ERRORS[dtype])
    assert store.ids.to_pylist() == [str(i) for i in range(len(texts))]
    positions = [3, 0, len(texts) - 1, 3]
    assert (store.at(positions) == vectors[positions]).all()
    for start in range(0, len(texts), 5):
        assert (store.vectors(start, start + 7) == vectors[start : start + 7]).all()


@given(n_texts=st.integers(1, 60))
@tried(20)
def test_blocks_cover_all_positions_in_order(tmp_path_factory, embedder, n_texts):
    root = tmp_path_factory.mktemp("blocks")
    store = fill_store(root, ListedTexts(TEXTS, IDS), embedder).open()

    starts, blocks = zip(*store.blocks(n_texts), strict=True)

    assert list(starts) == list(range(0, len(TEXTS), n_texts))
    assert (np.concatenate(blocks) == store.vectors()).all()


def test_a_block_of_a_float32_store_is_not_copied(tmp_path, embedder):
    layout = (filled := fill_store(tmp_path, ListedTexts(sorted(set(TEXTS))), embedder)).layout
    vectors = filled.open().vectors(0, layout.texts_per_shard)

    assert len(vectors) == layout.texts_per_shard > 1
    assert not vectors.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0


@given(st.integers(1, 10**9))
def test_shards_cut_the_texts_into_few_equal_pieces(filled_layout, n_distinct):
    layout = replace(filled_layout, n_distinct=n_distinct)
    last = layout.texts_of(layout.n_shards - 1)

    assert layout.texts_of(0).start == 0
    assert last.stop == n_distinct
    assert len(last) >= 1
    middle = layout.n_shards // 2
    if middle:
        assert layout.texts_of(middle).start == layout.texts_of(middle - 1).stop
        assert len(layout.texts_of(middle - 1)) == layout.texts_per_shard
    assert layout.n_shards <= 1 + n_distinct**0.5 / 2 + 1


@pytest.fixture(scope="module")
def filled_layout(tmp_path_factory, embedder):
    root = tmp_path_factory.mktemp("layout")
    return fill_store(root, ListedTexts(TEXTS), embedder, share=Share(999, 1000)).layout


def test_an_incomplete_store_names_its_missing_shards_and_the_command(filled):
    layout = filled.layout
    for shard in (0, 2):
        layout.path(shard).unlink()

    with pytest.raises(DataError) as refused:
        EmbeddingStore.open(layout.root, layout.fingerprint)

    said = str(refused.value)
    assert f"2 of {layout.n_shards} shards are missing: 0, 2 (run embed it" in said
    assert r"it\tagain" in said  # nothing that a terminal would obey
    assert "\n" not in said


def test_many_missing_shards_are_counted(tmp_path, embedder):
    texts = ListedTexts([f"text {i}" for i in range(900)])
    layout = fill_store(tmp_path, texts, embedder, share=Share(999, 1000)).layout

    named = r"15 of 15 shards are missing: 0, 1, 2, 3, 4, 5, 6, 7 and 7 more \(run fill_store"
    with pytest.raises(DataError, match=named):
        EmbeddingStore.open(layout.root, layout.fingerprint)


def damage(path):
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("harm", [damage, cut_off, os.unlink])
def test_a_damaged_shard_is_missing_and_is_made_again(filled, embedder, expected, harm):
    layout = filled.layout
    harm(layout.path(2))

    with pytest.raises(DataError, match=r"1 of \d+ shards are missing: 2 "):
        filled.open()
    again = fill_store(layout.root, ListedTexts(TEXTS, IDS), embedder)

    assert (again.n_written, again.n_found) == (1, layout.n_shards - 1)
    np.testing.assert_allclose(again.open().vectors(), expected, atol=2e-7)


@pytest.mark.parametrize("name", ["ids.arrow", "numbers.bin", "store.json"])
@pytest.mark.parametrize("harm", [damage, cut_off, os.unlink])
def test_a_damaged_file_beside_the_shards_is_found_and_made_again(filled, embedder, name, harm):
    harm(filled.layout.folder / name)

    with pytest.raises(DataError, match=r"missing or damaged|there is no embedding store"):
        filled.open()
    again = fill_store(filled.layout.root, ListedTexts(TEXTS, IDS), embedder)

    assert again.n_written == 0
    assert again.open().ids.to_pylist() == IDS


def test_a_shard_that_was_copied_from_another_store_is_not_read(filled, embedder):
    root = filled.layout.root
    other = fill_store(root, ListedTexts(TEXTS[::-1], IDS), embedder).layout

    shutil.copy2(other.path(1), filled.layout.path(1))

    with pytest.raises(DataError, match=r"1 of \d+ shards are missing: 1 "):
        filled.open()


def test_a_folder_that_was_renamed_is_not_read(filled, embedder):
    other = replace(filled.layout.fingerprint, prompt="another")
    renamed = StoreLayout(filled.layout.root, other, filled.layout.n_distinct)

    shutil.move(filled.layout.folder, renamed.folder)

    with pytest.raises(DataError, match="differs in prompt"):
        EmbeddingStore.open(filled.layout.root, other)


def test_without_any_store_the_message_says_how_to_fill_one(tmp_path, filled_layout):
    with pytest.raises(DataError, match=r"there is no embedding store of these texts \(fill one"):
        EmbeddingStore.open(tmp_path / "nowhere", filled_layout.fingerprint)


def test_a_shard_of_another_width_is_refused(filled):
    layout = filled.layout
    with sealed_file(layout.path(1)) as file:
        file.write(np.zeros((len(layout.texts_of(1)), 5), np.float32))

    with pytest.raises(DataError, match=r"expected \d+ vectors of 12 dimensions"):
        filled.open()
