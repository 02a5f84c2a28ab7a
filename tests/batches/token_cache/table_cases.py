"""Rows, and builds of their token tables."""

import os
import signal

import numpy as np
from hypothesis import strategies as st

from llm_embedder_data.batches.token_cache.growing_table import RowBlock
from llm_embedder_data.batches.token_cache.table_building import build_table
from llm_embedder_data.core.hashing import text_ids


def letters(texts):
    """A token a character."""
    return [[ord(letter) % 60_000 for letter in text] for text in texts]


def blocks_of(rows, size=3):
    def blocks(first):
        for start in range(first, len(rows), size):
            part = rows[start : start + size]
            keys = [key for _, row_keys in part for key in row_keys]
            n_keys = np.array([len(row_keys) for _, row_keys in part])
            yield RowBlock(len(part), {"query": [q for q, _ in part], "key": keys}, {"key": n_keys})

    return blocks


PREFIXES = {"query": "", "key": ">"}


ROWS = st.lists(
    st.tuples(st.text("abé日", max_size=4), st.lists(st.text("abé日", max_size=4), max_size=4)),
    min_size=1,
    max_size=12,
)


def build(folder, rows, tokenize=letters, **settings):
    settings |= {"n_ids": lambda: 60_000}
    return build_table(folder, blocks_of(rows), PREFIXES, tokenize, **settings)


def ids_of(table, numbers):
    return [table.ids[table.bounds[n] : table.bounds[n + 1]].tolist() for n in numbers]


def check(table, rows):
    """Every text of the rows is found under its number, and no text twice."""
    texts = {
        "query": [query for query, _ in rows],
        "key": [key for _, keys in rows for key in keys],
    }
    for column, column_texts in texts.items():
        numbers = table.array(column)
        assert ids_of(table, numbers) == letters([PREFIXES[column] + text for text in column_texts])
        assert table.text_ids[numbers].tolist() == text_ids(column_texts).tolist()
        assert ids_of(table, [table.empty[column]]) == letters([PREFIXES[column]])
    ends = np.cumsum([len(keys) for _, keys in rows]).tolist()
    assert table.array("key_bounds").tolist() == [0, *ends]
    put = {PREFIXES[column] + text for column in texts for text in [*texts[column], ""]}
    assert len(table) == len(put)


LONG = [(f"query {i}", [f"key {i % 50} {k}" for k in range(4)]) for i in range(900)]


def stopped_build(folder, n_rows, stop):
    """One that is stopped after so many rows."""
    done = 0

    def progress(n):
        nonlocal done
        done += n
        if done >= n_rows:
            stop()

    build(folder, LONG, progress=progress)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise KeyError("stop")
