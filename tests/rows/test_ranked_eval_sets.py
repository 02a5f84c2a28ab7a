"""Eval sets to rerank from MTEB repositories that name the candidates of each query."""

import json

import pytest
from set_cases import evaluate

from llm_embedder_data.config.recipes import load_recipe
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources


def repository(folder, ranked):
    parts = {
        "corpus": [{"id": f"d{n}", "title": "", "text": f"text {n}"} for n in range(5)],
        "queries": [{"_id": n, "text": f"query {n}"} for n in (7, 8)],
        "data": [
            {"query-id": query, "corpus-id": f"d{document}", "score": score}
            for query, document, score in [(7, 1, 1), (7, 4, 2), (7, 2, 0), (8, 3, 1)]
        ],
        "top_ranked": [{"query-id": query, "corpus-ids": ids} for query, ids in ranked.items()],
    }
    for name, records in parts.items():
        file = folder / "m" / name / "test-0.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / "m"


def test_the_candidates_are_those_that_were_retrieved(tmp_path):
    """Judged passages that were not retrieved are no candidates, and stay positives."""
    path = repository(tmp_path, {7: ["d2", "d1", "d0"], 8: ["d0", "d3"]})

    [eval_set] = evaluate(path, "rerank")

    rows = [(row["key"], row["key_index"], row["pos_index"]) for row in eval_set.rows]
    assert rows == [
        (["text 2", "text 1", "text 0"], [2, 1, 0], [1, 4]),
        (["text 0", "text 3"], [0, 3], [3]),
    ]


def test_queries_without_candidates_are_counted(tmp_path):
    [eval_set] = evaluate(repository(tmp_path, {7: ["d1"]}), "rerank")

    assert [row["query"] for row in eval_set.rows] == ["query 7"]
    assert eval_set.dropped == {"queries without candidates to rerank": 1}


def test_a_candidate_that_the_corpus_lacks_is_a_bad_row(tmp_path):
    path = repository(tmp_path, {7: ["d1", "d9"], 8: ["d3"]})

    with pytest.raises(DataError, match=r"row 0.*does not have the candidate 'd9'"):
        evaluate(path, "rerank")
    [eval_set] = evaluate(path, "rerank", on_bad_row="skip")
    assert [row["query"] for row in eval_set.rows] == ["query 8"]
    assert sum(eval_set.dropped.values()) == 1


@pytest.mark.parametrize(
    ("missing", "reason"),
    [({"d4"}, "does not have the relevant document 'd4'"), ({"d1", "d2", "d4"}, "none of its")],
)
def test_a_positive_that_the_corpus_lacks_is_a_bad_row(tmp_path, missing, reason):
    """Without the positive, the recall of the query would rise."""
    path = repository(tmp_path, {7: ["d0"], 8: ["d3"]})
    corpus = path / "corpus" / "test-0.jsonl"
    lines = corpus.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["id"] not in missing]
    corpus.write_text("\n".join(kept))

    with pytest.raises(DataError, match=f"row 0.*{reason}"):
        evaluate(path, "rerank")
    [eval_set] = evaluate(path, "rerank", on_bad_row="skip")
    assert [row["query"] for row in eval_set.rows] == ["query 8"]
    [(found, n_rows)] = eval_set.dropped.items()
    assert reason in found
    assert n_rows == 1


# -- canonical rows that name their candidates -----------------------------------------------------

ROWS = [
    {"query": "query 7", "query_id": 7, "relevant": {"d1": 1, "d4": 2}, "candidates": ["d2", "d1"]},
    {"query": "query 8", "query_id": 8, "relevant": {"d3": 1}, "candidates": ["d0", "d3"]},
]


def ranked(folder, rows, *, named=True, **more):
    files = {"rows": rows, "corpus": [{"id": f"d{n}", "text": f"text {n}"} for n in range(5)]}
    for name, records in files.items():
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text)
    source = {"path": str(folder / "rows.jsonl")}
    if named:
        source["corpus"] = str(folder / "corpus.jsonl")
    [found] = resolve_sources(source, setting="data.eval_data", fields=eval_fields("rerank"))
    reading = ReadingSettings(load_recipe("bge"), cache_dir=folder / "cache", **more)
    [eval_set] = build_eval_sets(found, reading, eval_method="rerank")
    return eval_set


def test_canonical_rows_name_the_documents_to_rerank(tmp_path):
    rows = ranked(tmp_path, ROWS).rows
    found = [(row["key"], row["key_index"], row["pos_index"]) for row in rows]
    assert found == [(["text 2", "text 1"], [2, 1], [1, 4]), (["text 0", "text 3"], [0, 3], [3])]


@pytest.mark.parametrize(
    "unknown", [{"candidates": ["d3", "d9"]}, {"relevant": {"d3": 1, "d9": 1}}]
)
def test_an_unknown_document_of_a_canonical_row_is_a_bad_row(tmp_path, unknown):
    rows = [ROWS[0], {**ROWS[1], **unknown}]
    with pytest.raises(DataError, match=r"row 1 \(line 2\).*does not have the .* 'd9'"):
        ranked(tmp_path, rows)
    eval_set = ranked(tmp_path, rows, on_bad_row="skip")
    assert [row["query"] for row in eval_set.rows] == ["query 7"]
    assert sum(eval_set.dropped.values()) == 1


def test_canonical_rows_to_rerank_need_a_corpus(tmp_path):
    with pytest.raises(DataError, match="rerank by id, and no corpus is given"):
        ranked(tmp_path, ROWS, named=False)
