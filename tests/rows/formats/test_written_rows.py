"""Canonical rows that are written in a simple format read back as the same rows."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.read_rows import read_rows

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)
# A blank in the middle: a text that is no id, and no list of them either.
TEXTS = st.tuples(WORDS, WORDS).map(lambda two: f"text {two[0].strip()} {two[1].strip()}")
SCORES = st.floats(allow_nan=False, allow_infinity=False, width=32)
IDS = st.one_of(st.none(), st.integers(-(2**60), 2**60), WORDS)
ROWS = st.builds(
    lambda query, pos, neg, scores, query_id: {
        **{"query": query, "pos": pos, "neg": neg, "query_id": query_id},
        "scores": scores[: len(pos) + len(neg)] if len(scores) >= len(pos) + len(neg) else None,
    },
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=3),
    st.lists(TEXTS, max_size=3),
    st.lists(SCORES, max_size=6),
    IDS,
)


def llm_embedder(row):
    return {**row, "teacher_scores": row["scores"]}


def flagembedding(row):
    n, scores = len(row["pos"]), row["scores"]
    parts = {} if scores is None else {"pos_scores": scores[:n], "neg_scores": scores[n:]}
    return {
        **{name: row[name] for name in ("query", "pos", "neg", "query_id")},
        **parts,
        "prompt": None,
    }


def tevatron(row):
    passages = [{"docid": str(n), "text": text} for n, text in enumerate(row["pos"] + row["neg"])]
    for passage, score in zip(passages, row["scores"] or (), strict=False):
        passage["ce_score"] = score
    n = len(row["pos"])
    return {
        "query_id": row["query_id"],
        "query": row["query"],
        "positive_passages": passages[:n],
        "negative_passages": passages[n:],
    }


def gritlm(row):
    found = {name: [["", text] for text in row[name]] for name in ("pos", "neg")}
    return {**found, "query": ["", row["query"]], "query_id": row["query_id"]}


def labeled_list(row):
    labels = [1] * len(row["pos"]) + [0] * len(row["neg"])
    found = {"query": row["query"], "docs": row["pos"] + row["neg"], "labels": labels}
    return {**found, "scores": row["scores"], "query_id": row["query_id"]}


def columns(row):
    negatives = {f"negative_{n}": text for n, text in enumerate(row["neg"], 1)}
    row_of = {"anchor": row["query"], "positive": row["pos"], "scores": row["scores"]}
    return {**row_of, **negatives, "query_id": row["query_id"]}


FORMATS = (llm_embedder, flagembedding, tevatron, gritlm, labeled_list, columns)


@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(FORMATS))
def test_written_rows_read_back(tmp_path, rows, written):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(written(row)) + "\n" for row in rows))
    found = list(read_rows(str(path)))
    assert len(found) == len(rows)
    for row, wanted in zip(found, rows, strict=True):
        for name in ("query", "pos", "neg", "query_id"):
            assert row[name] == wanted[name]
        if row["teacher_scores"] is None:
            alone = written is columns and len(wanted["scores"] or ()) == 1
            assert wanted["scores"] is None or written is gritlm or alone
        else:
            pairs = zip(row["teacher_scores"], wanted["scores"], strict=True)
            assert all(math.isclose(got, want) for got, want in pairs)


@given(st.lists(ROWS, min_size=1, max_size=4, unique_by=lambda row: row["query"]))
def test_canonical_rows_read_back_as_they_are(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(llm_embedder(row)) + "\n" for row in rows))
    first = list(read_rows(str(path)))
    path.write_text("".join(json.dumps(row) + "\n" for row in first))
    assert list(read_rows(str(path))) == first
