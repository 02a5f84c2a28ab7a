"""A positive is never mined, though its row has another text than the corpus: its id says it."""

import json
from pathlib import Path

import pytest

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.mining import mine, write_mined
from llm_embedder_data.mining.retrievers import WordRetriever
from llm_embedder_data.rows.side_cars.scores_beside import path_beside

TEXTS = [f"the {word} tide of reef {i}" for i, word in enumerate(["low", "high", "neap"] * 4)]

# The positives of each row: q1 stands twice, each time with another positive.
POSITIVES = [("the tide", "q1", "d0"), ("The  tide", "q2", "d1"), ("a reef", "q3", "d2")]


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def write_corpus(path, ids=True):
    """Write a corpus with titles, which the rows do not have."""
    return write(
        path,
        [
            {**({"_id": f"d{i}"} if ids else {}), "title": f"Sea {i}", "text": text}
            for i, text in enumerate(TEXTS)
        ],
    )


def passages(name, document, **more):
    return [{name: document, "title": "", "text": TEXTS[int(document[1:])], **more}]


def tevatron(folder):
    return write(
        folder / "rows.jsonl",
        [
            {
                "query_id": own_id,
                "query": query,
                "positive_passages": passages("docid", document),
                "negative_passages": [],
            }
            for query, own_id, document in POSITIVES
        ],
    )


def dpr(folder, name="passage_id"):
    return write(
        folder / "rows.jsonl",
        [
            {
                "query_id": own_id,
                "question": query,
                "positive_ctxs": passages(name, document),
                "negative_ctxs": [],
                "hard_negative_ctxs": [],
            }
            for query, own_id, document in POSITIVES
        ],
    )


def dpr_psg_id(folder):
    return dpr(folder, "psg_id")


def nemo(folder):
    return write(
        folder / "rows.jsonl",
        [
            {
                "question_id": own_id,
                "question": query,
                "pos_doc": [{"id": document, "text": TEXTS[int(document[1:])]}],
                "neg_doc": [],
            }
            for query, own_id, document in POSITIVES
        ],
    )


def run_with_texts(folder):
    return write(
        folder / "rows.jsonl",
        [
            {
                **{"query_id": own_id, "query": query, "doc_id": document, "rank": 1},
                **{"text": TEXTS[int(document[1:])], "relevance": 1},
            }
            for query, own_id, document in POSITIVES
        ],
    )


def own_columns(folder, **more):
    return write(
        folder / "rows.jsonl",
        [
            {
                **{"query": query, "query_id": own_id, "pos": [TEXTS[int(document[1:])]]},
                **{"pos_id": [document], **more},
            }
            for query, own_id, document in POSITIVES
        ],
    )


def flagembedding(folder):
    return own_columns(folder, neg=[], prompt="")


def named_columns(folder):
    return write(
        folder / "rows.jsonl",
        [
            {
                **{"anchor": query, "qid": own_id, "positive": TEXTS[int(document[1:])]},
                **{"positive_id": document},
            }
            for query, own_id, document in POSITIVES
        ],
    )


def beir(folder):
    """Write a folder with a corpus of its own, without titles."""
    texts = [{"_id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)]
    write(folder / "beir" / "corpus.jsonl", texts)
    queries = [{"_id": own_id, "text": query} for query, own_id, _ in POSITIVES]
    write(folder / "beir" / "queries.jsonl", queries)
    judged = "".join(f"{own_id}\t{document}\t1\n" for _, own_id, document in POSITIVES)
    (folder / "beir" / "qrels").mkdir()
    (folder / "beir" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return str(folder / "beir")


def llamaindex(folder):
    whole = {
        "queries": {own_id: query for query, own_id, _ in POSITIVES},
        "corpus": {f"d{i}": text for i, text in enumerate(TEXTS)},
        "relevant_docs": {own_id: [document] for _, own_id, document in POSITIVES},
    }
    return write(folder / "rows.json", [whole])


FORMATS = [
    *(tevatron, dpr, dpr_psg_id, nemo, run_with_texts, own_columns, flagembedding),
    *(named_columns, beir, llamaindex),
]


def mined(folder, rows, corpus, depth=99):
    """Return the mined documents and those marked as known by query id, and the counts."""
    module = RetrievalDataModule(
        tokenizer=demo_encoder(),
        train_data={"sea": rows} if isinstance(rows, str) else rows,
        corpus=corpus,
        batch_size=1,
        on_no_negatives="keep",
        cache_dir=folder / "cache",
    )
    module.prepare_data()
    module.setup("fit")
    [data] = module.data_to_mine().values()
    found = mine(
        data,
        lambda data, passages, queries: WordRetriever(passages, queries.texts),
        folder / "blocks",
        depth=depth,
    )
    run = folder / "run.tsv"
    write_mined(run, [found], folder / "cache")
    return read(run), read(path_beside(run), only="inf"), found.counts()


def read(path, only=None):
    documents = {}
    for line in Path(path).read_text().splitlines():
        if not line.startswith("#"):
            query, document, score = line.split("\t")
            if only in (None, score):
                documents.setdefault(query, set()).add(document)
    return documents


@pytest.mark.parametrize("write_rows", FORMATS)
def test_no_passage_with_the_id_of_a_positive_is_mined(tmp_path, write_rows):
    found, known, counts = mined(tmp_path, write_rows(tmp_path), write_corpus(tmp_path / "c.jsonl"))

    everything = {f"d{i}" for i in range(len(TEXTS))}
    same_query = {"d0", "d1"}  # of the two rows of one query
    assert found == {
        "q1": everything - same_query,
        "q2": everything - same_query,
        "q3": everything - {"d2"},
    }
    assert known == {"q1": same_query, "q2": same_query, "q3": {"d2"}}
    assert counts["passages left out as they have the id of a positive, and another text"] == 5
    assert counts["passages left out as they have the text of a positive"] == 0
    assert counts["known positives, which are never mined"] == 5
    assert not any(number for what, number in counts.items() if "compared" in what)


def test_a_passage_is_counted_once_though_it_has_text_and_id(tmp_path):
    texts = [{"_id": f"d{i}", "text": f" {text.upper()}"} for i, text in enumerate(TEXTS)]

    found, known, counts = mined(tmp_path, tevatron(tmp_path), write(tmp_path / "c.jsonl", texts))

    assert not {"d0", "d1"} & found["q1"]
    assert known == {}
    assert counts["passages left out as they have the text of a positive"] == 5
    assert counts["passages left out as they have the id of a positive, and another text"] == 0


def test_only_passages_that_would_have_been_mined_are_counted(tmp_path):
    _, _, counts = mined(tmp_path, nemo(tmp_path), write_corpus(tmp_path / "c.jsonl"), depth=1)

    # "reef" stands in all passages alike: d0 is mined for q3, and its positive d2 is not reached.
    assert counts["passages left out as they have the id of a positive, and another text"] == 4


def test_positives_that_cannot_be_compared_by_id_are_counted(tmp_path):
    rows = [
        {"query": "the tide", "pos": [TEXTS[0], TEXTS[1]], "pos_id": ["d0", None]},
        {"query": "a reef", "pos": ["Sea 2 " + TEXTS[2], "an eel"], "pos_id": ["e2", "e3"]},
    ]

    _, _, counts = mined(
        tmp_path, write(tmp_path / "rows.jsonl", rows), write_corpus(tmp_path / "c.jsonl")
    )

    assert counts["positives compared by text alone, as their rows give no id"] == 1
    assert counts["positives compared by text alone, as no passage has their id"] == 2
    # The second of the tide's, and the eel; the third differs in its id alone.
    assert counts["positives that the corpus has neither by id nor by text"] == 2


@pytest.mark.parametrize("have_ids", [True, False])
def test_rows_and_corpora_without_ids_are_said_to_be_compared_by_text(tmp_path, have_ids):
    rows = [{"query": query, "pos": [TEXTS[int(one[1:])]]} for query, _, one in POSITIVES]
    corpus = write_corpus(tmp_path / "c.jsonl", ids=have_ids)

    found, _, counts = mined(tmp_path, write(tmp_path / "rows.jsonl", rows), corpus)

    why = "their rows give no id" if have_ids else "the corpus has no ids"
    assert counts[f"positives compared by text alone, as {why}"] == 3
    assert counts["positives that the corpus has neither by id nor by text"] == 3
    assert all(len(documents) == len(TEXTS) for documents in found.values())


def test_a_row_number_is_no_id(tmp_path):
    rows = [{"query": "the tide", "pos": ["an eel"], "pos_id": ["3"]}]
    corpus = write_corpus(tmp_path / "c.jsonl", ids=False)

    found, _, counts = mined(tmp_path, write(tmp_path / "rows.jsonl", rows), corpus)

    assert "3" in next(iter(found.values()))
    assert counts["positives compared by text alone, as the corpus has no ids"] == 1


def test_integers_are_ids(tmp_path):
    rows = [{"query": "the tide", "query_id": "q", "pos": ["an eel"], "pos_id": [3]}]
    texts = [{"_id": i, "text": text} for i, text in enumerate(TEXTS)]

    found, _, _ = mined(
        tmp_path, write(tmp_path / "rows.jsonl", rows), write(tmp_path / "c.jsonl", texts)
    )

    assert "3" not in found["q"]


def test_a_negative_that_the_row_has_stays_one(tmp_path):
    negative = f"Sea 0 {TEXTS[0]}"
    rows = [
        {
            **{"query": "the tide", "query_id": "q", "pos": [TEXTS[0]], "pos_id": ["d0"]},
            "neg": [negative],
        }
    ]

    found, known, _ = mined(
        tmp_path, write(tmp_path / "rows.jsonl", rows), write_corpus(tmp_path / "c.jsonl")
    )

    assert "d0" not in found["q"]
    assert known == {}


def test_ids_of_no_use_are_none(tmp_path):
    rows = [
        {"query": "the tide", "pos": [TEXTS[0]], "pos_id": wrong}
        for wrong in (["a", "b"], {"d0": 1}, [[0]], [True], [0.5], ["\ud800"])
    ]

    _, _, counts = mined(
        tmp_path, write(tmp_path / "rows.jsonl", rows), write_corpus(tmp_path / "c.jsonl")
    )

    assert counts["positives compared by text alone, as their rows give no id"] == len(rows)


def test_rows_are_cached_as_if_nobody_mined(tmp_path):
    rows, corpus = tevatron(tmp_path), write_corpus(tmp_path / "c.jsonl")
    module = RetrievalDataModule(
        demo_encoder(),
        {"sea": rows},
        batch_size=1,
        on_no_negatives="keep",
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup("fit")
    before = names(tmp_path / "cache")

    mined(tmp_path, rows, corpus)

    assert not [name for name in before if name.startswith("positive-ids-")]
    new = names(tmp_path / "cache") - before
    assert [name.partition("-")[0] for name in new if "-" in name] == ["positive"]


def names(folder):
    return {path.name for path in folder.glob("*.arrow")}
