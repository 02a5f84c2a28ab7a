"""A text's vector is read from any store of the same encoder that has the text with its prompt."""

import numpy as np
import pytest
from store_cases import TEXTS, tiny_embedder, tiny_encoder

from llm_embedder_data.mining import vectors_of_texts
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.embedding_store import TEXT_HASHES
from llm_embedder_data.mining.store_filling import Share, fill_store
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint
from llm_embedder_data.mining.text_inventory import take_inventory
from llm_embedder_data.mining.vectors_of_texts import find_vectors


def found_of(root, embedder, asked_for):
    fingerprint = StoreFingerprint.of(embedder, take_inventory(ListedTexts(["another text"])))
    return find_vectors(root, fingerprint, asked_for)


@pytest.mark.parametrize("at_once", [7, 1 << 16])
def test_texts_are_found_in_several_stores_by_prompt_or_instruction(
    tmp_path, minilm, monkeypatch, at_once
):
    monkeypatch.setattr(vectors_of_texts, "_HASHES_AT_ONCE", at_once)
    prompted = tiny_embedder(minilm, prompt="find: ")
    plain = tiny_embedder(minilm, prompted.encoder)
    fill_store(tmp_path, ListedTexts(TEXTS), prompted)
    instructed = ListedTexts(["own", "both"], own_instructions=["say: ", "find: "])
    fill_store(tmp_path, instructed, plain)
    asked_for = [
        *(("find: ", text) for text in reversed(TEXTS[:20])),
        *[("say: ", "own"), ("find: ", "both"), ("say: ", TEXTS[0]), ("", "own"), ("find: ", "x")],
    ]

    found = found_of(tmp_path, plain, asked_for)

    assert (found.store >= 0).tolist() == [True] * 22 + [False] * 3
    order = np.arange(22)[::-1]  # of both stores, in an order of its own
    wanted = [text for _, text in asked_for[:22]], [prompt for prompt, _ in asked_for[:22]]
    vectors = plain.embed(*wanted)
    assert found.at(order) == pytest.approx(vectors[order], abs=1e-6)
    assert sorted(note.partition(" ")[0] for note in found.notes.values()) == ["2", "20"]


def test_equal_texts_of_a_store_have_one_vector(tmp_path, minilm):
    embedder = tiny_embedder(minilm)
    fill_store(tmp_path, ListedTexts(["a", "b", "a", "c"]), embedder)

    found = found_of(tmp_path, embedder, [("", "c"), ("", "a")])

    assert found.at([0, 1]) == pytest.approx(embedder.embed(["c", "a"]), abs=1e-6)


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"max_length": 23}, "max_length"),
        ({"precision": "bf16-mixed"}, "precision"),
        ({"encoder": 1}, "weights"),
        ({"encoder": "cls"}, "encoder"),
    ],
)
def test_a_store_of_other_settings_is_not_read_and_named(tmp_path, minilm, other, field):
    embedder = tiny_embedder(minilm)
    if other.get("encoder") == 1:
        other = {"encoder": tiny_encoder(minilm, seed=1)}
    elif "encoder" in other:
        other = {"encoder": tiny_encoder(minilm, pooling="cls")}
    name = fill_store(tmp_path, ListedTexts(TEXTS), tiny_embedder(minilm, **other)).layout.folder

    found = found_of(tmp_path, embedder, [("", TEXTS[0])])

    assert found.store.tolist() == [-1]
    said = f"the store {name.name} was not read because it differs in {field}"
    assert found.notes == {name.name: said}


def test_a_store_of_another_type_is_not_read(tmp_path, minilm):
    embedder = tiny_embedder(minilm)
    fill_store(tmp_path, ListedTexts(TEXTS), embedder, dtype="float16")

    found = found_of(tmp_path, embedder, [("", TEXTS[0])])

    assert found.store.tolist() == [-1]
    assert "differs in dtype" in " ".join(found.notes.values())


def test_a_store_with_another_prompt_says_so(tmp_path, minilm):
    fill_store(tmp_path, ListedTexts(TEXTS), tiny_embedder(minilm, prompt="find: "))

    found = found_of(tmp_path, tiny_embedder(minilm), [("", TEXTS[0]), ("", "x")])

    assert found.store.tolist() == [-1, -1]
    assert "has 1 of the texts with another prompt, 'find: '" in " ".join(found.notes.values())


def test_an_incomplete_store_is_not_read(tmp_path, minilm):
    embedder = tiny_embedder(minilm)
    fill_store(tmp_path, ListedTexts(TEXTS), embedder, share=Share(0, 2))

    found = found_of(tmp_path, embedder, [("", TEXTS[0])])

    assert found.store.tolist() == [-1]
    assert "shards are missing" in " ".join(found.notes.values())


def test_a_store_without_hashes_is_read_once_it_was_filled_again(tmp_path, minilm):
    embedder, texts = tiny_embedder(minilm), ListedTexts(TEXTS)
    folder = fill_store(tmp_path, texts, embedder).layout.folder
    (folder / TEXT_HASHES).unlink()

    without = found_of(tmp_path, embedder, [("", TEXTS[0])])
    filled = fill_store(tmp_path, texts, embedder)
    again = found_of(tmp_path, embedder, [("", TEXTS[0])])

    assert without.store.tolist() == [-1]
    assert f"it has no {TEXT_HASHES}" in without.notes[folder.name]
    assert filled.n_written == 0
    assert again.store.tolist() == [0]


def test_there_may_be_no_folder(tmp_path, minilm):
    found = found_of(tmp_path / "none", tiny_embedder(minilm), [("", "a")])

    assert found.store.tolist() == [-1]
    assert found.notes == {}
