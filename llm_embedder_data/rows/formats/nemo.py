"""NeMo Automodel's rows: a question with documents, given as texts or as ids of a corpus folder.

A record with texts, and an id file, which is one object::

    {"question": "what causes tides", "pos_doc": ["Tides follow the moon."],
     "neg_doc": ["Rain falls from clouds."]}
    {"corpus": [{"path": "wiki/"}], "data": [
     {"question": "what causes tides", "corpus_id": "wiki", "pos_doc": ["482"], "neg_doc": ["90"]}]}

A file is known by ``pos_doc``, or by an object of ``corpus`` and ``data``. Paths of corpora are
relative to the file. A corpus folder has files of ids and texts and ``merlin_metadata.json``, which
may name the instructions of queries and passages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.folder_passages import passages_of
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.judgments import relevant_row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import holds_document_ids
from llm_embedder_data.rows.formats.passage_texts import PassageTexts
from llm_embedder_data.rows.records.raw_files import RawFile, RawRecord
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Key,
    Row,
    corpus_row,
    document_id,
    text_of,
    titled,
    train_row,
)
from llm_embedder_data.rows.schema.identified_texts import with_id

_SIDES = ("pos_doc", "neg_doc")
_METADATA = "merlin_metadata.json"


def _is_id_file(file: RawFile) -> bool:
    return (
        len(file.head) == 1
        and isinstance(file.head[0], Mapping)
        and isinstance(file.head[0].get("data"), list)
        and isinstance(file.head[0].get("corpus"), list)
    )


def _recognizes(file: RawFile) -> bool:
    return "pos_doc" in file.fields or _is_id_file(file)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """The texts of a corpus folder by document id, and the instructions in its metadata."""

    texts: Mapping[str, str]
    query_instruction: str | None = None
    passage_instruction: str | None = None


def _records(parts: Parts) -> Iterator[tuple[Any, _Corpus | None]]:
    """Yield the records of all files, each with its corpus; None if the file names no corpus."""
    for file in parts.files:
        if not _is_id_file(file):
            for record in file:
                parts.at = (file.path, record)
                yield record.value, None
            continue
        whole = file.head[0]
        corpora = _corpora(file, parts)
        for number, value in enumerate(whole["data"]):
            parts.at = (file.path, RawRecord(value, number, None))
            name = value.get("corpus_id") if isinstance(value, Mapping) else None
            if name is None and len(corpora) == 1:
                yield value, next(iter(corpora.values()))
            elif isinstance(name, str) and name in corpora:
                yield value, corpora[name]
            else:
                raise parts.error(f"corpus_id={shown(name)}: the file has {', '.join(corpora)}")


def _corpora(file: RawFile, parts: Parts) -> dict[str, _Corpus]:
    found = {}
    for entry in file.head[0]["corpus"]:
        path = entry.get("path") if isinstance(entry, Mapping) else entry
        if not isinstance(path, str) or "\0" in path:
            raise DataError.at(file.path, f"corpus: expected a path, found {shown(path)}")
        name, corpus = _corpus_of(Path(file.path).parent / path, parts)
        found[name] = corpus
    if not found:
        raise DataError.at(file.path, "corpus: it names no folder")
    return found


def _read(parts: Parts) -> Iterator[Row]:
    for value, corpus in _records(parts):
        try:
            yield _row(value, parts, corpus)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _row(record: Any, parts: Parts, corpus: _Corpus | None) -> Row:
    if not isinstance(record, Mapping):
        raise BadRowError(f"expected an object, found {shown(record)}")
    are_ids = corpus is not None or holds_document_ids(parts, _SIDES)
    pos, neg = (_entries(record.get(name), name, are_ids, parts.keeps_ids) for name in _SIDES)
    if not pos:
        raise Dropped("rows without a positive")
    if corpus is not None:
        parts.documents = corpus.texts
    if all(is_id for is_id, _ in (*pos, *neg)):
        positive, negative, _ = parts.pos_and_neg_of(
            [doc_id for _, doc_id in pos], [doc_id for _, doc_id in neg]
        )
    else:  # some passages are inline
        positive, negative = _texts(pos, parts), _texts(neg, parts)
        if not positive or (neg and not negative):
            raise Dropped(f"rows without a known {'negative' if positive else 'positive'}")
    corpus = corpus or _Corpus({})
    return train_row(
        record.get("question", record.get("query")),
        positive,
        negative,
        query_id=record.get("question_id", record.get("query_id")),
        query_instruction=_instruction(record, "query_instruction") or corpus.query_instruction,
        key_instruction=_instruction(record, "passage_instruction") or corpus.passage_instruction,
    )


def _instruction(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRowError(f"{name}: expected a string, found {shown(value)}")
    return value


def _entries(
    value: Any, field: str, are_ids: bool, keeps_ids: bool = False
) -> list[tuple[bool, str]]:
    """Return (whether it is an id, id or text) for each document of a column.

    Args:
        value: one document or a list: each a text, an id, or an object of ``text`` or ``id``.
        field: name of the column, for messages.
        are_ids: whether documents that are no objects are ids.
        keeps_ids: whether texts carry the ids of their objects.
    """
    found = []
    for entry in value if isinstance(value, list) else [] if value is None else [value]:
        if isinstance(entry, Mapping) and isinstance(entry.get("text"), str):
            text = titled(entry.get("title"), entry["text"], field)
            found.append((False, with_id(text, entry.get("id")) if keeps_ids else text))
        elif isinstance(entry, Mapping):
            found.append((True, document_id(entry.get("id"), field)))
        elif are_ids:
            found.append((True, document_id(entry, field)))
        elif not isinstance(entry, str) or entry.strip():
            found.append((False, text_of(entry, field)))
    return found


def _texts(entries: list[tuple[bool, str]], parts: Parts) -> list[Key]:
    """Return the texts of documents, some of which are ids; unknown ids are left out, counted."""
    ids = [doc_id for is_id, doc_id in entries if is_id]
    known = set(parts.known_of(ids)) if ids else set()
    texts: list[Key] = []
    for is_id, id_or_text in entries:
        if not is_id:
            texts.append(id_or_text)
        elif id_or_text in known:
            text = parts.documents[id_or_text]
            texts.append(with_id(text, id_or_text) if parts.keeps_ids else text)
    return texts


def _eval(parts: Parts) -> Iterator[Row]:
    for value, corpus in _records(parts):
        try:
            if not isinstance(value, Mapping):
                raise BadRowError(f"expected an object, found {shown(value)}")
            are_ids = corpus is not None or holds_document_ids(parts, _SIDES)
            entries = _entries(value.get("pos_doc"), "pos_doc", are_ids)
            if not all(is_id for is_id, _ in entries):
                raise BadRowError("pos_doc: its passages are texts, and eval rows name documents")
            if corpus is not None:
                parts.texts_of_corpus = lambda texts=corpus.texts: texts
                parts.documents = corpus.texts
            query, query_id = value.get("question", value.get("query")), value.get("question_id")
            ids = [doc_id for _, doc_id in entries]
            row = relevant_row(query, value.get("query_id", query_id), ids, parts)
            if corpus is not None and corpus.query_instruction:
                row["instruction"] = {"query": corpus.query_instruction, "key": None}
            yield row
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


def _corpus(parts: Parts) -> Iterator[Row]:
    folder = Path(parts.source)
    if _is_corpus_folder(folder):
        corpora = [_corpus_of(folder, parts)[1]]
    else:
        corpora = []
        for file in parts.files:
            if not _is_id_file(file):
                raise DataError.at(file.path, "its passages are texts, and it names no corpus")
            corpora += _corpora(file, parts).values()
    for corpus in corpora:
        for doc_id, text in corpus.texts.items():
            yield corpus_row(doc_id, text)


def _passages(parts: Parts) -> Iterator[Row]:
    passages = PassageTexts(parts)
    for number, record in enumerate(parts.records()):
        try:
            yield passages.row(record.value, number)
        except BadRowError as error:
            raise parts.error(str(error)) from error
    passages.check_fields()


def _corpus_of(folder: Path, parts: Parts) -> tuple[str, _Corpus]:
    """Return the name of a corpus folder, and its corpus.

    Raises:
        DataError: the metadata or a file of passages is missing or cannot be read.
    """
    try:
        metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError.at(str(folder), f"{_METADATA} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError.at(str(folder / _METADATA), f"not JSON: {error}") from error
    if not isinstance(metadata, Mapping):
        raise DataError.at(str(folder / _METADATA), "expected an object of corpus_id and class")
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.name != _METADATA and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise DataError.at(
            str(folder), f"the corpus has no file of passages beside {_METADATA} (add it)"
        )
    texts = passages_of(parts, files, "nemo", _passages)
    try:
        instructions = [
            _instruction(metadata, name) for name in ("query_instruction", "passage_instruction")
        ]
    except BadRowError as error:
        raise DataError.at(str(folder / _METADATA), str(error)) from error
    return str(metadata.get("corpus_id", folder.name)), _Corpus(texts, *instructions)


def _is_corpus_folder(folder: Path) -> bool:
    return (folder / _METADATA).is_file()


NEMO = Format(
    name="nemo",
    what="NeMo Automodel's rows of pos_doc and neg_doc",
    recognizes=_recognizes,
    recognizes_folder=_is_corpus_folder,
    train=_read,
    eval=_eval,
    corpus=_corpus,
)
