"""``read_rows``: the canonical rows of anything that holds retrieval data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.canonical_rows import Kind, Row
from llm_embedder_data.rows.formats.beir import query_texts
from llm_embedder_data.rows.formats.detection import format_of_file, format_of_folder, named
from llm_embedder_data.rows.formats.format import Format, Options, Parts
from llm_embedder_data.rows.formats.judgments import Judgment
from llm_embedder_data.rows.formats.trec import judgments_of
from llm_embedder_data.rows.raw_files import RawFile

_OPTIONS = ("split", "prefix", "config", "miner", "threshold", "key_template")

# Files of a folder that stand beside the rows, by the beginning or end of their names.
_CORPUS = re.compile(r"^(corpus|collection|documents?|docs|passages|wiki_corpus)\b", re.IGNORECASE)
_QUERIES = re.compile(r"(^|[-_.])(queries|qas|topics)\b", re.IGNORECASE)
_QRELS = re.compile(r"(^|[-_.])qrels\b", re.IGNORECASE)
_NO_DATA = re.compile(
    r"^(README|LICENSE|\.|dataset_infos|dataset_info|state|counts|offsets)|\.(md|txt~|py|yaml|yml)$"
)


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

    Args:
        source: a path, or a folder that is one data set or holds files of rows.
        kind: train, eval or corpus; see :mod:`llm_embedder_data.rows.canonical_rows`.
        format: a name of :mod:`llm_embedder_data.rows.formats`; None: known by content.
        corpus: the texts of the documents that rows name by id.
        queries: the texts of the queries that rows name by id.
        qrels: judgments of the queries.
        on_bad_row: raise, or skip and count.
        settings: split, prefix, config, miner, threshold, and names of fields
            (``query="question"``, ``pos="answer.text"``, ``neg=["negative_1", "negative_2"]``).

    Yields:
        dicts with the keys of the kind.

    Raises:
        DataError: data that cannot be read, or that is of no known format.
        ConfigError: a setting that cannot be used.
    """
    options = Options(**{name: settings.pop(name) for name in _OPTIONS if name in settings})
    path = Path(source)
    chosen = None if format is None else named(format)
    if path.is_dir():
        files, beside = _of_folder(path, chosen, kind, options)
        corpus, queries, qrels = (
            given if given is not None else found
            for given, found in zip((corpus, queries, qrels), beside, strict=True)
        )
        whole = chosen if chosen is not None and not files else format_of_folder(path)
        if whole is not None and (chosen is None or chosen is whole):
            files, chosen = [], whole
    else:
        files = [RawFile(str(path))]
    parts = Parts(str(path), files, options, skips_bad_rows=on_bad_row == "skip")
    if corpus is not None:
        parts.texts_of_corpus = cache(lambda: _corpus_texts(corpus))
    if queries is not None:
        parts.texts_of_queries = cache(lambda: _query_texts(queries))
    if qrels is not None:
        parts.judgments_given = cache(lambda: _judgments(qrels))
    if not files:
        assert chosen is not None
        yield from _read(chosen, kind, parts)
        return
    by_format: dict[str, tuple[Format, list[RawFile]]] = {}
    for file in files:
        one = chosen or format_of_file(file, kind)
        by_format.setdefault(one.name, (one, []))[1].append(file)
    for one, own in by_format.values():
        parts.files = own
        yield from _read(one, kind, parts)


def _read(chosen: Format, kind: Kind, parts: Parts) -> Iterator[Row]:
    reader = chosen.reader(kind)
    if reader is None:
        raise DataError.at(
            parts.source, f"it holds {chosen.what}, from which no {kind} rows can be read"
        )
    yield from reader(parts)
    parts.check_unknown_ids()


def _of_folder(
    folder: Path, chosen: Format | None, kind: Kind, options: Options
) -> tuple[list[RawFile], tuple[Any, Any, Any]]:
    """A folder's files of rows, and the paths of corpus, queries and judgments beside them."""
    paths = sorted(
        path for path in folder.iterdir() if path.is_file() and not _NO_DATA.search(path.name)
    )
    corpus = [path for path in paths if _CORPUS.search(path.name)]
    queries = [path for path in paths if _QUERIES.search(path.name) and path not in corpus]
    qrels = [path for path in paths if _QRELS.search(path.name)]
    rows = [path for path in paths if path not in {*corpus, *queries, *qrels}]
    if kind == "corpus":
        rows = corpus or rows
    return [RawFile(str(path)) for path in rows], tuple(  # type: ignore[return-value]
        found or None for found in (corpus, queries, qrels)
    )


def _paths(source: Any) -> list[Path]:
    return [Path(one) for one in source] if isinstance(source, list) else [Path(source)]


def _corpus_texts(source: Any) -> Mapping[str, str]:
    rows = chain.from_iterable(read_rows(path, kind="corpus") for path in _paths(source))
    return {row["id"]: row["text"] for row in rows}


def _query_texts(source: Any) -> Mapping[str, tuple[Any, str]]:
    return query_texts(Parts(str(source), [], Options()), _paths(source))


def _judgments(source: Any) -> list[Judgment]:
    files = [RawFile(str(path)) for path in _paths(source)]
    return list(judgments_of(Parts(str(source), files, Options())))
