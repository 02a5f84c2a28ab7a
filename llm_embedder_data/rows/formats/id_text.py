"""Files of ids and texts, which are a corpus or queries; this is no single project's format.

A record of a corpus, and a line of queries (id, tab, text)::

    {"_id": "d1", "title": "Tides", "text": "Tides follow the moon."}
    q1  what causes tides

A file is known by lines of two cells, or by objects with no other fields than those of IDS, TEXTS
and a few more. The title of a passage is put before its text. Anserini's ``contents`` begins with a
line that is the title.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, is_text, most_are
from llm_embedder_data.rows.formats.judgments import judged_eval
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_texts import IDS, TEXTS, PassageTexts, id_and_text
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    EmptyTextError,
    Row,
    id_of,
)


def _recognizes(file: RawFile) -> bool:
    if most_are(file.head, lambda value: isinstance(value, list)):
        return most_are(
            file.head,
            lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_text, value)),
        )
    fields = set(file.fields)
    return bool(fields & {*TEXTS, "title"}) and fields <= _KNOWN


_QUERY_TEXTS = {"query", "question", "query_text", "QUERY_TEXT"}
_KNOWN = {*IDS, *TEXTS, "title", "metadata", "url", "instruction", "lang", "language", "idx"}


# Columns whose values may be longer than titles without being passages.
_SAY_NO_TEXT = {"link", "uri", "path", "source", "date", "time", "timestamp", "file", "filename"}


def holds_texts(file: RawFile) -> bool:
    """Return whether records have the text of a passage, so that a file can be read as a corpus.

    In contrast to ``recognizes``, this allows any other fields. Titles alone are taken for the
    texts, unless another column holds longer texts.
    """
    fields = set(file.fields)
    if fields & (set(TEXTS) - _QUERY_TEXTS):
        return True
    return "title" in fields and not any(
        _is_longer(file, name) for name in fields - _KNOWN if name not in _SAY_NO_TEXT
    )


def _is_written(value: Any) -> bool:
    """Return whether a value is a text, or a list of parts of a text, such as sentences."""
    return is_text(value) or (isinstance(value, list) and all(map(is_text, value)))


def _is_longer(file: RawFile, name: str) -> bool:
    """Return whether a column holds longer texts than ``title``, so that it may hold passages."""
    titles, others = (
        [len("".join(value)) for value in file.values(column) if _is_written(value)]
        for column in ("title", name)
    )
    return bool(titles and others) and sum(others) * len(titles) > sum(titles) * len(others)


def read_passages(parts: Parts) -> Iterator[Row]:
    """Yield canonical corpus rows; a passage without an id gets the number of its row.

    Passages without text are left out and counted.

    Raises:
        DataError: a row is bad or, unless ``parts`` allows it, repeats an id, and bad rows are not
            skipped.
    """
    seen: set[str] = set()
    passages = PassageTexts(parts)
    for number, record in enumerate(parts.records()):
        try:
            row = _row_of_cells(record.value) if passages.are_plain else None
            if row is None:
                row = passages.row(record.value, number)
            if not parts.allows_repeated_ids and row["id"] in seen:
                raise BadRowError(f"the id {shown(row['id'])} stands in the corpus twice")
        except EmptyTextError:
            parts.count_record("passages without text")
            continue
        except BadRowError as error:
            parts.leave_out(error)
            continue
        if not parts.allows_repeated_ids:
            seen.add(row["id"])
        yield row
    passages.check_fields()


def _row_of_cells(value: Any) -> Row | None:
    """Return the row of a line of two cells, as most large corpora have; None for other records.

    It is the row that :class:`PassageTexts` makes, in a third of the time.
    """
    if type(value) is not list or len(value) != 2:
        return None
    name, text = value
    if type(name) is not str or type(text) is not str or not (text := text.strip()):
        return None
    return {"id": name, "text": text}


def read_texts(parts: Parts) -> Iterator[tuple[Any, str]]:
    """Yield the id and the text of each query; a query without an id gets the number of its row.

    Raises:
        DataError: a row is bad or repeats an id, and bad rows are not skipped.
    """
    seen: set[Any] = set()
    for number, record in enumerate(parts.records()):
        try:
            given_id, text = id_and_text(record.value)
            query_id = id_of(given_id, "query id")
            query_id = number if query_id is None else query_id
            if query_id in seen:
                raise BadRowError(f"the query id {shown(query_id)} stands twice")
        except BadRowError as error:
            parts.leave_out(error)
            continue
        seen.add(query_id)
        yield query_id, text


def _eval(parts: Parts) -> Iterator[Row]:
    """Yield eval rows of the file's queries, with the judgments that the user names."""
    texts = {str(query_id): (query_id, text) for query_id, text in read_texts(parts)}
    parts.texts_of_queries = lambda: texts
    yield from judged_eval(parts)


ID_TEXT = Format(
    name="id_text",
    what="ids and texts",
    recognizes=_recognizes,
    eval=_eval,
    corpus=read_passages,
)
