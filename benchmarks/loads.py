"""Data for benchmarks: made-up rows and passages of a given shape, or real rows in one form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from made_up_text import MadeUpText

SAMPLE = Path(__file__).parent.parent / "llm_embedder_data/sample"

_ROWS_AT_ONCE, _PASSAGES_AT_ONCE = 250, 5000

# Words per key, so many that no key occurs twice by chance.
_LEAST = 6


class Lengths(NamedTuple):
    """Log-normal distributions of text lengths in words: medians and spreads of the logarithms."""

    query: tuple[float, float]
    key: tuple[float, float]


# Measured on real rows by benchmarks/real_text.py.
LENGTHS = {
    "qa": Lengths((10, 0.40), (114, 0.18)),
    "convsearch": Lengths((222, 1.24), (234, 0.60)),
    "chat": Lengths((7, 0.77), (22, 0.45)),
    "lrlm": Lengths((96, 0.0), (96, 0.0)),
    "icl": Lengths((8, 0.44), (14, 0.30)),
    "tool": Lengths((18, 0.50), (21, 0.74)),
}
TASKS = tuple(LENGTHS)


def write_train(
    path: Path, *, task: str, rows: int, negatives: int, words: int | None = None, seed: int = 7
) -> None:
    """Write training rows with one positive and ``negatives`` negatives.

    Args:
        path: file to write.
        task: task of the rows.
        rows: number of rows.
        negatives: negatives per row.
        words: mean number of words in a key; a query has a quarter of it. None: as in real rows of
            the task.
        seed: seed of the texts.
    """
    text = MadeUpText(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    width = negatives + 1
    with open(path, "wb") as file:
        for first in range(0, rows, _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, rows - first)
            if words is None:
                query_sizes = text.spread_sizes(n_rows, *LENGTHS[task].query, least=1)
                key_sizes = text.spread_sizes(n_rows * width, *LENGTHS[task].key, least=_LEAST)
            else:
                query_sizes = text.sizes(n_rows, max(2, words // 4))
                key_sizes = text.sizes(n_rows * width, words)
            queries, keys = text.texts(query_sizes), text.texts(key_sizes)
            scores = text.scores(n_rows * width)
            for i, query in enumerate(queries):
                own = keys[i * width : (i + 1) * width]
                row = {"query": query, "query_id": first + i, "task": task}
                row |= {"pos": own[:1], "neg": own[1:]}
                row["teacher_scores"] = scores[i * width : (i + 1) * width]
                file.write(orjson.dumps(row) + b"\n")


def write_corpus(path: Path, *, passages: int, words: int, seed: int = 8) -> None:
    """Write passages with a title of two words."""
    text = MadeUpText(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for first in range(0, passages, _PASSAGES_AT_ONCE):
            n_rows = min(_PASSAGES_AT_ONCE, passages - first)
            titles, texts = (text.texts(text.sizes(n_rows, n_words)) for n_words in (2, words))
            for title, passage in zip(titles, texts, strict=True):
                file.write(orjson.dumps({"title": title, "text": passage}) + b"\n")


def make_load(folder: Path, *, rows: int, negatives: int, words: int | None = None) -> None:
    """Write ``<folder>/<task>/train.jsonl`` for six tasks with ``rows`` rows each."""
    for number, task in enumerate(TASKS):
        write_train(
            folder / task / "train.jsonl",
            task=task,
            rows=rows,
            negatives=negatives,
            words=words,
            seed=number,
        )


def copy_load(data: Path, folder: Path) -> None:
    """Copy training files to ``<folder>/<name>/train.jsonl``, in a form that all systems read.

    A copied row has at least one positive and one negative. If no positive is labelled, and in
    ``history`` rows, the candidate with the highest teacher score becomes the positive. Rows
    without a negative are left out, and so are all fields except query, pos, neg and task.
    """
    for path in sorted(data.rglob("train.jsonl*")):
        name = "-".join(path.parent.relative_to(data).parts)
        (folder / name).mkdir(parents=True)
        with open(folder / name / "train.jsonl", "wb") as file:
            for row in _rows(path):
                pos, neg = row.get("pos"), row.get("history") or row["neg"]
                if not pos:
                    best = int(np.argmax(row["teacher_scores"]))
                    pos, neg = [neg[best]], neg[:best] + neg[best + 1 :]
                if pos and neg:
                    kept = {"query": row["query"], "pos": pos, "neg": neg, "task": row["task"]}
                    file.write(orjson.dumps(kept) + b"\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        yield from map(json.loads, file)
