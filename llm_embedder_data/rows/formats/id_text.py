"""Ids and texts: a corpus, or queries.

Two cells a line (id, text), or objects of an id and a text by any of the names in use. The title
of a passage stands before its text; Anserini's ``contents`` begins with the title's line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

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
    shown,
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
    """The id and the text of a record; the id is None where it has none.

    Raises:
        BadRowError: the record has no text.
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
    one = text = None
    for name in ids:
        one = value[name]
        if one is not None:
            break
    for name in texts:
        if isinstance(value[name], str):
            text = name
            break
    title = value.get("title")
    if text is None:
        wrong = next((name for name in TEXTS if value.get(name) is not None), None)
        if wrong is not None or not isinstance(title, str):
            found = "" if wrong is None else f", found {wrong}={shown(value[wrong])}"
            raise BadRowError(f"expected an id and a text{found}")
        return one, titled(None, title)
    content = value[text]
    if text == "contents" and title is None and "\n" in content:  # Anserini's title
        title, content = content.split("\n", 1)
    no_title = ("-",) if "docid" in value else ()  # Tevatron's passages without title
    return one, titled(title, content, text, no_title=no_title)


@lru_cache(maxsize=1024)
def _fields_of(fields: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The fields among some that may be the id, and those that may be the text, best first."""
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


# Longer than a title may be, and no passage.
_SAY_NO_TEXT = {"link", "uri", "path", "source", "date", "time", "timestamp", "file", "filename"}


def holds_texts(file: RawFile) -> bool:
    """Whether records have a passage's text, whatever else: enough where a corpus is asked for."""
    fields = set(file.fields)
    if fields & (set(TEXTS) - _QUERY_TEXTS):
        return True
    return "title" in fields and not any(
        _is_longer(file, name) for name in fields - _KNOWN if name not in _SAY_NO_TEXT
    )


def _is_written(value: Any) -> bool:
    """Whether a value is a text, or one in pieces such as sentences."""
    return is_text(value) or (isinstance(value, list) and all(map(is_text, value)))


def _is_longer(file: RawFile, name: str) -> bool:
    """Whether a column of another name holds texts longer than titles: the passages, it seems."""
    titles, others = (
        [len("".join(one)) for one in file.values(column) if _is_written(one)]
        for column in ("title", name)
    )
    return bool(titles and others) and sum(others) * len(titles) > sum(titles) * len(others)


def _filled(template: KeyTemplate, record: Mapping[str, Any]) -> str:
    """The text of a record by the user's template; a field that is missing or null is empty."""
    text = next((record[name] for name in TEXTS if isinstance(record.get(name), str)), None)
    values = []
    for name in template.fields:
        value = text if name == "text" and "text" not in record else record.get(name)
        if value is not None and not isinstance(value, str | int | float):
            raise BadRowError(f"{name}: expected a string, found {shown(value)}")
        values.append("" if value is None else value if isinstance(value, str) else shown(value))
    return titled(None, template.filled(values))


def _corpus(parts: Parts) -> Iterator[Row]:
    seen: set[str] = set()
    given = parts.options.key_template
    template = None if given is None else parse_template(given)
    for number, record in enumerate(parts.records()):
        try:
            one, text = id_and_text(record.value)
            if template is not None and isinstance(record.value, Mapping):
                text = _filled(template, record.value)
            row = corpus_row(number if one is None else one, text)
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


def read_texts(parts: Parts) -> Iterator[tuple[Any, str]]:
    """The ids and texts of queries; an id that stands twice is an error, or counted."""
    seen: set[Any] = set()
    for number, record in enumerate(parts.records()):
        try:
            one, text = id_and_text(record.value)
            own_id = id_of(one, "query id")
            one = number if own_id is None else own_id
            if one in seen:
                raise BadRowError(f"the query id {shown(one)} stands twice")
        except BadRowError as error:
            parts.leave_out(error)
            continue
        seen.add(one)
        yield one, text


def _eval(parts: Parts) -> Iterator[Row]:
    """Eval rows of the file's queries, by the judgments that are named beside it."""
    texts = {str(query_id): (query_id, text) for query_id, text in read_texts(parts)}
    parts.texts_of_queries = lambda: texts
    yield from judged_eval(parts)


ID_TEXT = Format(
    name="id_text",
    what="ids and texts",
    recognizes=_recognizes,
    eval=_eval,
    corpus=_corpus,
)
