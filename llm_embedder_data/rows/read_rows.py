"""``read_rows``: reads the canonical rows of anything that holds retrieval data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row


def read_rows(
    source: Any,
    *,
    kind: Kind = "train",
    format: str | None = None,
    corpus: Any = None,
    queries: Any = None,
    qrels: Any = None,
    on_bad_row: str = "raise",
    **settings: Any,
) -> Iterator[Row]:
    """Read the canonical rows of a source, whatever format its files have.

    Containers (JSON Lines, JSON, CSV, TSV, Parquet, Arrow; text files may be compressed) and
    formats are detected from the content.
    :class:`~llm_embedder_data.rows.foreign_rows.row_reader.RowReader` reads the same rows, and also
    reports what was found.

    Args:
        source: a path, pattern, folder or address (``https://``, ``s3://``, ``hf://``); data in
            memory (Dataset, DatasetDict, DataFrame, Arrow table, list of dicts); a list of sources;
            or a mapping, of names to sources, or with ``path`` and settings for this source.
        kind: ``train``, ``eval`` or ``corpus``: see
            :mod:`llm_embedder_data.rows.schema.canonical_rows`.
        format: the name of a format of :mod:`llm_embedder_data.rows.formats`; None: detected from
            the content.
        corpus: a source of the documents that rows name by id.
        queries: a source of the queries that rows name by id.
        qrels: a source of judgments of the queries.
        on_bad_row: ``raise``: a bad row is an error; or ``skip``: bad rows are left out.
        settings: ``split``, ``prefix``, ``config``, ``miner``, ``threshold``, ``key_template``,
            ``data_root``, ``cache_dir``; and columns by field (``query="question"``,
            ``pos="answer.text"``, ``neg=["negative_1", "negative_2"]``).

    Returns:
        An iterator over dicts with the keys of the kind.

    Raises:
        DataError: the data cannot be read, or has no known format; raised while iterating.
        ConfigError: a setting cannot be used.
    """
    reader = RowReader(
        source,
        kind=kind,
        format=format,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        on_bad_row=on_bad_row,
        **settings,
    )
    return reader.rows()
