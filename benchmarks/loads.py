"""Loads of known shape: rows and passages made of the sample's words, or real rows in one form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

TASKS = ("qa", "convsearch", "chat", "lrlm", "icl", "tool")
SAMPLE = Path(__file__).parent.parent / "llm_embedder_data/sample"

_ROWS_AT_ONCE = 1000


class WordDraw:
    """Texts of words drawn with the frequencies that they have in the sample; none twice by design.

    Args:
        seed: the same texts for the same seed.
    """

    def __init__(self, seed: int) -> None:
        texts = (file.read_text().replace('"', " ") for file in sorted(SAMPLE.glob("*/*.jsonl")))
        self._words = np.array([word for text in texts for word in text.split()], dtype=object)
        self._random = np.random.default_rng(seed)

    def texts(self, n_texts: int, n_words: int) -> list[str]:
        """Texts of ``n_words`` words on the average, from half to one and a half times as many."""
        sizes = self._random.integers(max(1, n_words // 2), 3 * n_words // 2 + 1, n_texts)
        drawn = self._random.integers(len(self._words), size=int(sizes.sum()))
        words = self._words[drawn].tolist()
        ends = np.cumsum(sizes).tolist()
        return [" ".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def scores(self, n_scores: int) -> list[float]:
        """Teacher scores in [0, 1) of four digits."""
        drawn: list[float] = (self._random.integers(10_000, size=n_scores) / 10_000).tolist()
        return drawn


def write_train(
    path: Path, *, task: str, rows: int, negatives: int, words: int, seed: int = 7
) -> None:
    """Training rows of one positive and ``negatives`` negatives; queries of ``words / 4`` words."""
    draw = WordDraw(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    width = negatives + 1
    with open(path, "wb") as file:
        for first in range(0, rows, _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, rows - first)
            queries = draw.texts(n_rows, max(2, words // 4))
            keys = draw.texts(n_rows * width, words)
            scores = draw.scores(n_rows * width)
            for i, query in enumerate(queries):
                own = keys[i * width : (i + 1) * width]
                row = {"query": query, "query_id": first + i, "task": task}
                row |= {"pos": own[:1], "neg": own[1:]}
                row["teacher_scores"] = scores[i * width : (i + 1) * width]
                file.write(orjson.dumps(row) + b"\n")


def write_corpus(path: Path, *, passages: int, words: int, seed: int = 8) -> None:
    """Passages with a title of two words."""
    draw = WordDraw(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for first in range(0, passages, _ROWS_AT_ONCE):
            n_rows = min(_ROWS_AT_ONCE, passages - first)
            for title, text in zip(draw.texts(n_rows, 2), draw.texts(n_rows, words), strict=True):
                file.write(orjson.dumps({"title": title, "text": text}) + b"\n")


def make_load(folder: Path, *, rows: int, negatives: int, words: int) -> None:
    """``<folder>/<task>/train.jsonl`` for six tasks of ``rows`` rows each."""
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
    """The training files of a folder as ``<folder>/<name>/train.jsonl``, in a form all read.

    Rows have one positive or more and one negative or more: where none is labelled, and in
    ``history`` rows, the candidate with the highest teacher score is the positive. Rows without a
    negative are left out, and so are fields beside query, pos, neg and task.
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
