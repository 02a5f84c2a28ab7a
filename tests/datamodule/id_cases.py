"""Rows that name documents by id, in the formats that do, beside the same data written out."""

import json
import random

from datamodule_cases import write

WORDS = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta", "iota", "kappa"]
N_PASSAGES = 40


def passage_text(number):
    """Passages 7 and 31 have the same text, under two ids; lengths differ."""
    if number == 31:
        number = 7
    words = [WORDS[(number + k * (number + 3)) % len(WORDS)] for k in range(1 + number % 6)]
    return f"p{number} {' '.join(words)}"


def rows_of(n_rows=23, n_neg=6, *, scored=False, seed=3):
    """Rows of passage numbers: {"query", "pos", "neg", "scores"}."""
    draw = random.Random(seed)
    rows = []
    for i in range(n_rows):
        keys = draw.sample(range(N_PASSAGES), 2 + n_neg - i % 3)
        if i % 5 == 0:  # a negative with the text of a positive, and a text twice
            keys = [7, *(key for key in keys if key not in (7, 31)), 31]
        row = {"query": f"query {i}", "pos": keys[: 1 + i % 2], "neg": keys[1 + i % 2 :]}
        row["scores"] = [draw.randrange(9) / 4 for _ in keys] if scored else None
        rows.append(row)
    return rows


def write_passages(path, numbers=range(N_PASSAGES)):
    return write(path, [{"_id": f"d{n}", "title": "", "text": passage_text(n)} for n in numbers])


def plain(folder, rows):
    """pos and neg of ids, with query texts, scores and query ids beside."""
    records = []
    for i, row in enumerate(rows):
        record = {"query": row["query"], "query_id": f"q{i}"}
        record |= {side: [f"d{n}" for n in row[side]] for side in ("pos", "neg")}
        if row["scores"]:
            record["teacher_scores"] = row["scores"]
        records.append(record)
    corpus = write_passages(folder / "passages.jsonl")
    return {"path": str(write(folder / "ids.jsonl", records)), "corpus": str(corpus)}


def history(folder, rows):
    """Candidates without labels: only scores say which is positive."""
    records = [
        {
            "query": row["query"],
            "history": [f"d{n}" for n in row["pos"] + row["neg"]],
            "teacher_scores": row["scores"],
        }
        for row in rows
    ]
    corpus = write_passages(folder / "passages.jsonl")
    return {"path": str(write(folder / "history.jsonl", records)), "corpus": str(corpus)}


def beir(folder, rows, numbers=range(N_PASSAGES)):
    folder = folder / "beir"
    write_passages(folder / "corpus.jsonl", numbers)
    write(
        folder / "queries.jsonl", [{"_id": f"q{i}", "text": r["query"]} for i, r in enumerate(rows)]
    )
    (folder / "qrels").mkdir()
    judged = [
        f"q{i}\td{n}\t{grade}"
        for i, row in enumerate(rows)
        for grade, side in ((1, "pos"), (0, "neg"))
        for n in row[side]
    ]
    (folder / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n"
    )
    return str(folder)


def colbert(folder, rows):
    lines = [[i, row["pos"][0], *row["neg"]] for i, row in enumerate(rows)]
    path = folder / "colbert.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "collection.tsv").write_text(
        "".join(f"{n}\t{passage_text(n)}\n" for n in range(N_PASSAGES))
    )
    (folder / "queries.tsv").write_text(
        "".join(f"{i}\t{row['query']}\n" for i, row in enumerate(rows))
    )
    return {
        "path": str(path),
        "corpus": str(folder / "collection.tsv"),
        "queries": str(folder / "queries.tsv"),
    }


def kd(folder, rows):
    records = [
        {
            "query_id": f"q{i}",
            "document_ids": [f"d{n}" for n in row["pos"] + row["neg"]],
            "scores": row["scores"],
        }
        for i, row in enumerate(rows)
    ]
    queries = [{"_id": f"q{i}", "text": row["query"]} for i, row in enumerate(rows)]
    return {
        "path": str(write(folder / "kd.jsonl", records)),
        "corpus": str(write_passages(folder / "passages.jsonl")),
        "queries": str(write(folder / "queries.jsonl", queries)),
    }


def tevatron(folder, rows):
    records = [
        {
            "query_id": f"q{i}",
            "query_text": row["query"],
            "positive_document_ids": [f"d{n}" for n in row["pos"]],
            "negative_document_ids": [f"d{n}" for n in row["neg"]],
        }
        for i, row in enumerate(rows)
    ]
    corpus = write_passages(folder / "passages.jsonl")
    return {"path": str(write(folder / "tevatron.jsonl", records)), "corpus": str(corpus)}


def two_corpora(folder, rows):
    """Two BEIR folders read as a source of their own: passages of both are numbered together."""
    half = len(rows) // 2
    sources = [
        beir(folder / "one", rows[:half]),
        beir(folder / "two", rows[half:], range(N_PASSAGES - 1, -1, -1)),
    ]
    return {"path": sources}


FORMATS = {
    "plain": plain,
    "history": history,
    "beir": beir,
    "colbert": colbert,
    "kd": kd,
    "tevatron": tevatron,
}
SCORED_ONLY = {"history", "kd"}
