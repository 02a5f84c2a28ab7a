"""Arctic-Embed's folder of three tables: documents, queries, and the labels of pairs.

The records of documents, queries and labels::

    {"DOCUMENT_ID": 11, "DOCUMENT_TEXT": "Tides follow the moon."}
    {"QUERY_ID": 7, "QUERY_TEXT": "what causes tides"}
    {"QUERY_ID": 7, "DOCUMENT_ID": 11, "RELEVANCE": 1}

A folder is known by its files ``documents.*``, ``queries.*`` and ``labels.*`` (or
``relations.*``), a single file by the columns of labels. The names of the ids may begin with
``BATCH_``. A pair is positive if its relevance is above 0 and negative if it is below 0; a
relevance of 0 says nothing, so such a pair is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.folder_passages import passages_of
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.judgments import (
    Grades,
    by_query,
    eval_rows,
    grade_of,
    train_rows,
)
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_texts import PassageTexts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    document_id,
    text_of,
)

_TOKENS = ("DOCUMENT_TOKEN_ID_LIST", "QUERY_TOKEN_ID_LIST")


def _is_folder(folder: Path) -> bool:
    return all(any(folder.glob(f"{name}.*")) for name in ("documents", "queries")) and (
        any(folder.glob("labels.*")) or any(folder.glob("relations.*"))
    )


def _file(folder: Path, *names: str) -> RawFile:
    found = [path for name in names for path in sorted(folder.glob(f"{name}.*"))]
    if not found:
        raise DataError.at(str(folder), f"the folder has no table of {names[0]}")
    return RawFile(str(found[0]))


def _texts(parts: Parts, side: str) -> Iterator[tuple[Any, str]]:
    for record in parts.records():
        value = record.value
        if not isinstance(value, Mapping):
            raise parts.error("expected objects of ids and texts")
        if any(name in value for name in _TOKENS):
            raise DataError.at(
                parts.files[0].path,
                "it holds token ids in place of texts, which fit one tokenizer alone (give the "
                "tables of texts)",
            )
        names = (f"{side}_ID", f"BATCH_{side}_ID")
        given_id = next((value[name] for name in names if name in value), None)
        try:
            document_id(given_id, f"{side}_ID")  # raises BadRowError if it is no id
            yield given_id, text_of(value.get(f"{side}_TEXT"), f"{side}_TEXT")
        except BadRowError as error:
            raise parts.error(str(error)) from error


def _documents(parts: Parts) -> Iterator[Row]:
    passages = PassageTexts(parts)
    for given_id, text in _texts(parts, "DOCUMENT"):
        yield passages.row({"id": given_id, "text": text})
    passages.check_fields()


def _labels(parts: Parts) -> Iterator[tuple[str, str, int]]:
    """Yield query id, document id, and 1 or -1, for each label other than 0."""
    for record in parts.records():
        try:
            value = record.value
            if not isinstance(value, Mapping):
                raise BadRowError("expected an object of QUERY_ID, DOCUMENT_ID and RELEVANCE")
            query_id = value.get("QUERY_ID", value.get("BATCH_QUERY_ID"))
            document = value.get("DOCUMENT_ID", value.get("BATCH_DOCUMENT_ID"))
            relevance = grade_of(value.get("RELEVANCE"))
            query = document_id(query_id, "QUERY_ID")
            if relevance == 0:
                raise Dropped("labels of 0, which say nothing")
            yield query, document_id(document, "DOCUMENT_ID"), 1 if relevance > 0 else -1
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _joined(parts: Parts) -> Parts:
    """Add the folder's labels, queries and documents to the parts, unless the user names others."""
    folder = Path(parts.source)
    if not folder.is_dir():
        return parts
    parts.files = [_file(folder, "labels", "relations")]
    if parts.texts_of_queries is None:
        queries = _texts(Parts(parts.source, [_file(folder, "queries")], parts.options), "QUERY")
        parts.texts_of_queries = lambda: {
            document_id(given, "QUERY_ID"): (given, text) for given, text in queries
        }
    if parts.texts_of_corpus is None:
        documents = [Path(_file(folder, "documents").path)]
        parts.texts_of_corpus = cache(lambda: passages_of(parts, documents, "arctic", _documents))
    return parts


def _grades(parts: Parts) -> Grades:
    if parts.judgments_given is not None:
        return by_query(parts.judgments_given(), parts)
    return by_query(_labels(parts), parts)


def _train(parts: Parts) -> Iterator[Row]:
    parts = _joined(parts)
    yield from train_rows(_grades(parts), parts)


def _eval(parts: Parts) -> Iterator[Row]:
    parts = _joined(parts)
    yield from eval_rows(_grades(parts), parts)


def _corpus(parts: Parts) -> Iterator[Row]:
    folder = Path(parts.source)
    if folder.is_dir():
        parts.files = [_file(folder, "documents")]
    yield from _documents(parts)


def _is_labels(file: RawFile) -> bool:
    fields = set(file.fields)
    return "RELEVANCE" in fields and (
        {"QUERY_ID", "DOCUMENT_ID"} <= fields or {"BATCH_QUERY_ID", "BATCH_DOCUMENT_ID"} <= fields
    )


ARCTIC = Format(
    name="arctic",
    what="Arctic-Embed's tables of documents, queries and labels",
    recognizes=_is_labels,
    recognizes_folder=_is_folder,
    train=_train,
    eval=_eval,
    corpus=_corpus,
)
