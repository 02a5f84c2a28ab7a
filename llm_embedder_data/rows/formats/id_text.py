"""Files of ids and texts, which are a corpus or queries; this is no single project's format.

A record of a corpus, and a line of queries (id, tab, text)::

    {"_id": "d1", "title": "Tides", "text": "Tides follow the moon."}
    q1  what causes tides

A file is known by lines of two cells, or by objects with no other fields than those of IDS, TEXTS
and a few more. The title of a passage is put before its text. Anserini's ``contents`` begins with a
line that is the title.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, is_text, most_are
from llm_embedder_data.rows.formats.judgments import judged_eval
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    EmptyTextError,
    Row,
    corpus_row,
    id_of,
    titled,
)
from llm_embedder_data.rows.settings.key_templates import KeyTemplate, parse_template

IDS = (
    # The id of a passage before that of the document from which it was cut.
    *("_id", "id", "pid", "passage_id", "docid", "doc_id", "docno", "document_id", "corpus_id"),
    *("corpus-id", "did", "query_id", "query-id", "qid", "q_id", "DOCUMENT_ID", "QUERY_ID"),
)
TEXTS = (
    *("text", "contents", "content", "document_content", "passage", "document", "body", "query"),
    *("question", "query_text", "document_text", "DOCUMENT_TEXT", "QUERY_TEXT", "doc"),
    *("passage_text", "segment"),
)
_QUERY_TEXTS = {"query", "question", "query_text", "QUERY_TEXT"}


def id_and_text(value: Any) -> tuple[Any, str]:
    """Return the id and the text of a record, the title included; the id is None if it has none.

    Args:
        value: an object, or the cells of a line: id and text, or MS MARCO's docid, url, title and
            body.

    Raises:
        BadRowError: the record has another shape, or no text.
    """
    if isinstance(value, list):
        if len(value) == 2:
            return value[0], titled(None, value[1])
        if len(value) == 4:  # docid, url, title, body
            return value[0], titled(value[2], value[3])
        raise BadRowError(f"expected an id and a text, found {len(value)} cells")
    if not isinstance(value, Mapping):
        raise BadRowError(f"expected an id and a text, found {shown(value)}")
    ids, texts = _fields_of(tuple(value))
    given_id = field = None
    for name in ids:
        given_id = value[name]
        if given_id is not None:
            break
    for name in texts:
        if isinstance(value[name], str):
            field = name
            break
    title = value.get("title")
    if field is None:
        wrong = next((name for name in TEXTS if value.get(name) is not None), None)
        if wrong is not None or not isinstance(title, str):
            found = "" if wrong is None else f", found {wrong}={shown(value[wrong])}"
            raise BadRowError(f"expected an id and a text{found}")
        return given_id, titled(None, title)
    text = value[field]
    if field == "contents" and title is None and "\n" in text:  # Anserini's title
        title, text = text.split("\n", 1)
    no_title = ("-",) if "docid" in value else ()  # the title of Tevatron's passages without title
    return given_id, titled(title, text, field, no_title=no_title)


@lru_cache(maxsize=1024)
def _fields_of(fields: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the fields that may hold the id, and those that may hold the text, best first."""
    return [name for name in IDS if name in fields], [name for name in TEXTS if name in fields]


def _recognizes(file: RawFile) -> bool:
    if most_are(file.head, lambda value: isinstance(value, list)):
        return most_are(
            file.head,
            lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_text, value)),
        )
    fields = set(file.fields)
    return bool(fields & {*TEXTS, "title"}) and fields <= _KNOWN


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


def _filled(template: KeyTemplate, record: Mapping[str, Any]) -> str:
    """Return the text of a record by the user's template; missing and null fields are empty.

    ``{text}`` stands for the record's text even if the field has another name.
    """
    text = next((record[name] for name in TEXTS if isinstance(record.get(name), str)), None)
    values = []
    for name in template.fields:
        value = text if name == "text" and "text" not in record else record.get(name)
        if value is not None and not isinstance(value, str | int | float):
            raise BadRowError(f"{name}: expected a string, found {shown(value)}")
        values.append("" if value is None else value if isinstance(value, str) else shown(value))
    return titled(None, template.filled(values))


def read_passages(parts: Parts) -> Iterator[Row]:
    """Yield canonical corpus rows; a passage without an id gets the number of its row.

    Passages without text are left out and counted.

    Raises:
        DataError: a row is bad or, unless ``parts`` allows it, repeats an id, and bad rows are not
            skipped.
    """
    seen: set[str] = set()
    given = parts.options.key_template
    template = None if given is None else parse_template(given)
    for number, record in enumerate(parts.records()):
        try:
            row = _row_of_cells(record.value)
            if row is None:
                given_id, text = id_and_text(record.value)
                if template is not None and isinstance(record.value, Mapping):
                    text = _filled(template, record.value)
                row = corpus_row(number if given_id is None else given_id, text)
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


def _row_of_cells(value: Any) -> Row | None:
    """Return the row of a line of two cells, as most large corpora have; None for other records.

    It is the row that :func:`id_and_text` and :func:`corpus_row` make, in a third of the time.
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
