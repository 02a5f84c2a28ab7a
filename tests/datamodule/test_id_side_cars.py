"""Rows of ids with side-cars keep ids; batches are those of the same rows written as texts."""

import json

import pytest
from datamodule_cases import RECIPE, write
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from id_cases import N_PASSAGES, beir, passage_text, plain, rows_of, write_passages
from test_id_batches import as_texts, assert_equal, batches, read_lines

from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts


def run(path, lines):
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return str(path)


def with_corpus(texts, source, **side_cars):
    """Rows of texts beside the corpus that side-cars name documents of."""
    return {"path": texts, "corpus": source["corpus"], **side_cars}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Rows by id, two of them of one query, and the same rows as texts."""
    folder = tmp_path_factory.mktemp("both")
    rows = rows_of()
    rows[4]["query"] = rows[3]["query"]
    source = plain(folder, rows)
    return folder, source, as_texts(folder, source)


DOCUMENTS = st.sampled_from([*(f"d{n}" for n in range(N_PASSAGES)), "unknown"])
RUNS = st.dictionaries(
    st.integers(0, 22),
    st.dictionaries(DOCUMENTS, st.integers(-9, 9).map(lambda n: n / 4), min_size=1, max_size=8),
    min_size=1,
)


@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(mined=RUNS, scores=st.none() | RUNS, data=st.data())
def test_batches_of_ids_with_side_cars_are_those_of_texts(both, mined, scores, data):
    folder, source, texts = both
    given = {"negatives": mined} if scores is None else {"negatives": mined, "scores": scores}
    side_cars = {
        name: run(
            folder / f"{name}.tsv",
            [(f"q{q}", document, s) for q, found in one.items() for document, s in found.items()],
        )
        for name, one in given.items()
    }
    arguments = {
        "tokenize": data.draw(st.sampled_from(["on-the-fly", "cached"])),
        "on_no_negatives": "keep",
        "train_group_size": data.draw(st.sampled_from([2, 9])),
        **data.draw(st.sampled_from([{}, {"length_window": 2}, {"range_max": 3}])),
    }

    found, by_id = batches(folder, {**source, **side_cars}, **arguments)
    expected, by_text = batches(folder, with_corpus(texts, source, **side_cars), **arguments)

    assert by_id.train_sets()["a"].passages is not None
    assert by_text.train_sets()["a"].passages is None
    assert by_id.train_sets()["a"].n_scored == by_text.train_sets()["a"].n_scored
    assert_equal(found, expected)


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_scores_of_whole_rows_keep_ids(both, tmp_path, tokenize):
    _, source, texts = both
    rows = read_lines(texts)
    lines = [
        {
            "query_id": row["query_id"],
            "scores": [k / 8 for k in range(len(row["pos"] + row["neg"]))],
        }
        for row in rows
    ]
    scores = str(write(tmp_path / "scores.jsonl", lines))
    arguments = {"tokenize": tokenize, "recipe": RECIPE, "select_positive": "teacher"}

    found, by_id = batches(tmp_path, {**source, "scores": scores}, **arguments)
    expected, _ = batches(tmp_path, {"path": texts, "scores": scores}, **arguments)

    assert by_id.train_sets()["a"].passages is not None
    assert_equal(found, expected)


def test_no_corpus_is_read_again_for_side_cars_of_rows_of_ids(both, tmp_path):
    _, source, _ = both
    negatives = run(tmp_path / "run.tsv", [("q1", "d5", 0.5)])

    _, datamodule = batches(tmp_path, {**source, "negatives": negatives})

    [passages] = datamodule.train_sets()["a"].passages.corpora
    assert len(passages) == N_PASSAGES
    texts = [passage_text(n).encode() for n in range(1, 6)]
    for file in (tmp_path / "cache").rglob("*.arrow"):
        assert not any(text in file.read_bytes() for text in texts)


def test_the_passages_of_a_folder_are_the_documents_of_its_side_cars(tmp_path):
    rows = rows_of()
    folder = beir(tmp_path, rows)
    corpus = str(tmp_path / "beir" / "corpus.jsonl")
    lines = [(f"q{i}", f"d{(5 * i) % N_PASSAGES}", 0.5) for i in range(len(rows))]
    negatives = run(tmp_path / "run.tsv", lines)

    found, by_id = batches(tmp_path, {"path": folder, "negatives": negatives})
    texts = {"path": as_texts(tmp_path, folder), "corpus": corpus, "negatives": negatives}
    expected, _ = batches(tmp_path, texts)

    assert by_id.train_sets()["a"].passages is not None
    assert_equal(found, expected)


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_documents_of_another_corpus_lie_beside_the_passages(tmp_path, tokenize):
    rows = rows_of()
    folder = beir(tmp_path, rows)
    # Some ids name other texts there, some the same ones, and one text has another id.
    records = [{"_id": f"d{n}", "text": passage_text(n)} for n in range(10)]
    records += [{"_id": f"d{n}", "text": f"other {n}"} for n in range(10, 20)]
    records += [{"_id": "x", "text": passage_text(30)}]
    corpus = str(write(tmp_path / "other.jsonl", records))
    lines = [(f"q{i}", f"d{(3 * i + k) % 20}", k) for i in range(len(rows)) for k in range(4)]
    negatives = run(tmp_path / "run.tsv", [("q2", "x", 9), *lines])
    arguments = {"tokenize": tokenize, "corpus": {"a": corpus}, "train_group_size": 9}

    found, by_id = batches(tmp_path, {"path": folder, "negatives": negatives}, **arguments)
    texts = as_texts(tmp_path, folder)
    expected, _ = batches(tmp_path, {"path": texts, "negatives": negatives}, **arguments)

    passages = by_id.train_sets()["a"].passages
    assert sorted(map(len, passages.corpora)) == [11, N_PASSAGES]
    assert_equal(found, expected)


def test_a_document_may_be_a_candidate_known_by_its_text(tmp_path):
    rows = rows_of()
    folder = beir(tmp_path, rows)
    [known] = ids_of_texts([passage_text(rows[1]["neg"][1])])
    negatives = run(tmp_path / "run.tsv", [("q0", known, 0.5), ("q2", "text:no", 0.5)])

    found, by_id = batches(tmp_path, {"path": folder, "negatives": negatives})
    texts = {"path": as_texts(tmp_path, folder), "negatives": negatives}
    expected, _ = batches(tmp_path, texts)

    assert by_id.train_sets()["a"].passages is not None
    assert_equal(found, expected)


def test_negatives_that_are_exchanged_keep_ids(both, tmp_path):
    _, source, texts = both
    files = [
        run(
            tmp_path / f"{name}.tsv",
            [(f"q{q}", f"d{(q + shift) % N_PASSAGES}", 1) for q in range(23)],
        )
        for name, shift in (("one", 3), ("two", 11))
    ]
    found = []
    for own in (source, with_corpus(texts, source)):
        _, datamodule = batches(
            tmp_path, {**own, "negatives": files[0]}, on_no_negatives="keep", tokenize="cached"
        )
        datamodule.exchange_negatives({"a": files[1]})
        found.append((list(datamodule.train_dataloader()), datamodule))

    assert found[0][1].train_sets()["a"].passages is not None
    assert_equal(found[0][0], found[1][0])


def test_passages_beside_that_were_deleted_are_written_again(tmp_path):
    rows = rows_of()
    source = {"path": beir(tmp_path, rows), "negatives": run(tmp_path / "r.tsv", [("q1", "e1", 1)])}
    corpus = write_passages(tmp_path / "none.jsonl", [])
    corpus.write_text(json.dumps({"_id": "e1", "text": "from elsewhere"}) + "\n")
    arguments = {"corpus": {"a": str(corpus)}}
    expected, datamodule = batches(tmp_path, source, **arguments)
    beside = datamodule.train_sets()["a"].passages.corpora[1].path
    beside.unlink()

    found, _ = batches(tmp_path, source, **arguments)

    assert beside.exists()
    assert_equal(found, expected)
