"""Training rows that hold the text of an eval query: equal when normalised, or 13 words of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.gathering import gathered
from llm_embedder_data.inspection.doctor import fingerprints
from llm_embedder_data.inspection.doctor.train_checks import RowPrints
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet

# Words of a run that two texts share by copying, not by chance (GPT-3's rule, Brown et al., 2020).
N_WORDS = 13
_ROWS_AT_ONCE = 8192
_BASE = np.uint64(0x9E3779B97F4A7C15)


def contaminated_rows(
    train_sets: Mapping[str, TrainSet],
    prints: Mapping[str, RowPrints],
    eval_sets: Mapping[str, EvalSet],
) -> dict[str, NDArray[np.int64]]:
    """The training rows that hold an eval query in their query or a positive, by set.

    Args:
        train_sets: by name.
        prints: of the same sets.
        eval_sets: by name; without any nothing is found.
    """
    queries = [text for one in eval_sets.values() for text in _queries(one)]
    known = np.unique(fingerprints.normalised(queries))
    grams = np.unique(word_grams(queries)[0]) if queries else np.array([], np.uint64)
    found = {}
    for name, train_set in train_sets.items():
        one = prints[name]
        hit = np.isin(one.query, known)
        positive = one.is_positive
        hit[one.row_of_key[positive][np.isin(one.key[positive], known)]] = True
        if len(grams):
            hit |= _shares_grams(train_set, grams)
        found[name] = one.rows[hit]
    return found


def word_grams(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all runs of 13 words of some texts, and the number of the text of each.

    Within one process: Python's own hash of a word is another in the next.
    """
    words = [(text.lower() if text.isascii() else text.casefold()).split() for text in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    all_words = chain.from_iterable(words)
    hashes = np.fromiter(map(hash, all_words), np.int64, int(lengths.sum())).view(np.uint64)
    if len(hashes) < N_WORDS:
        return np.array([], np.uint64), np.array([], np.int64)
    n_runs = len(hashes) - N_WORDS + 1
    runs = np.zeros(n_runs, np.uint64)
    for place in range(N_WORDS):
        runs = runs * _BASE + hashes[place : place + n_runs]
    text = np.repeat(np.arange(len(texts)), lengths)
    within = text[:n_runs] == text[N_WORDS - 1 :]
    return runs[within], text[:n_runs][within]


def _queries(eval_set: EvalSet) -> Iterator[str]:
    for start in range(0, len(eval_set.kept), _ROWS_AT_ONCE):
        rows = eval_set.kept[start : start + _ROWS_AT_ONCE].tolist()
        yield from eval_set.rows[rows]["query"]


def _shares_grams(train_set: TrainSet, grams: NDArray[np.uint64]) -> NDArray[np.bool_]:
    tables = train_set.tables(["query", "key", "n_pos"])
    hits = []
    for start in range(0, len(train_set.kept), _ROWS_AT_ONCE):
        kept = np.asarray(train_set.kept[start : start + _ROWS_AT_ONCE])
        for rows, table in gathered(tables, kept):
            lengths = pc.list_value_length(table.column("key")).to_numpy()
            row_of_key = np.repeat(np.arange(len(rows)), lengths)
            place = np.arange(len(row_of_key)) - (np.cumsum(lengths) - lengths)[row_of_key]
            positive = place < table.column("n_pos").to_numpy()[row_of_key]
            texts = table.column("query").to_pylist()
            texts += pc.list_flatten(table.column("key")).filter(pa.array(positive)).to_pylist()
            row_of_text = np.concatenate([np.arange(len(rows)), row_of_key[positive]])
            found, text = word_grams(texts)
            hit = np.zeros(len(rows), bool)
            hit[row_of_text[text[np.isin(found, grams)]]] = True
            hits.append(hit)
    return np.concatenate(hits)
