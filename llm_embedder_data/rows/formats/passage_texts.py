"""The id and the text of a passage; a key template of the user's makes the text of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llm_embedder_data.core.errors import DataError, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Row, corpus_row, titled
from llm_embedder_data.rows.settings.key_templates import (
    DEFAULT_KEY_TEMPLATE,
    parse_template,
    unless_default,
)

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


class PassageTexts:
    """Makes the corpus rows of a format's records.

    Without a key template, the text of a row is the title and the text of its record. A template
    may name any field of the record. ``{text}`` stands for the text even if the field has another
    name; missing and null fields are empty.

    Args:
        parts: the source, whose options have the template.

    Attributes:
        are_plain: whether there is no template.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        given = unless_default(parts.options.key_template or DEFAULT_KEY_TEMPLATE)
        self.are_plain = given is None
        self._template = None if given is None else parse_template(given)
        self._missing = [] if self._template is None else list(self._template.fields)
        self._found: dict[str, None] = {}

    def row(self, record: Any, number: int = 0) -> Row:
        """Return the canonical corpus row of a record.

        Args:
            record: see :func:`id_and_text`.
            number: the id, if the record has none.

        Raises:
            BadRowError: the record has another shape, no text, or a field that is not a text.
        """
        given_id, text = id_and_text(record)
        if self._template is not None:
            text = self._filled(_by_name(record))
        return corpus_row(number if given_id is None else given_id, text)

    def check_fields(self) -> None:
        """Check, after the last record, that some record had each field of the template.

        Raises:
            DataError: no record had a field.
        """
        if not self._missing or not self._found:
            return
        near = "".join(did_you_mean(name, self._found) for name in self._missing)
        raise DataError.at(
            ", ".join(file.path for file in self._parts.files) or self._parts.source,
            f"no record has the field {', '.join(map(repr, self._missing))} of "
            f"key_template={self._parts.options.key_template!r}; there are "
            f"{', '.join(map(one_line, sorted(self._found)))}{near} "
            "(correct data.key_template, or give this source a key_template)",
        )

    def _filled(self, record: Mapping[str, Any]) -> str:
        assert self._template is not None
        values = []
        for name in self._template.fields:
            value = record.get(name)
            if value is None and name == "text":
                value = next((record[key] for key in TEXTS if isinstance(record.get(key), str)), "")
            if value is not None and not isinstance(value, str | int | float):
                raise BadRowError(f"{name}: expected a string, found {shown(value)}")
            if value is not None and name in self._missing:
                self._missing.remove(name)
            values.append(
                "" if value is None else value if isinstance(value, str) else shown(value)
            )
        if self._missing:
            self._found.update(dict.fromkeys(record))
        return titled(None, self._template.filled(values))


def refuse_template(parts: Parts) -> None:
    """Refuse a key template for training rows of a format that holds its passages as plain texts.

    Raises:
        DataError: there is a template, which the rows would not follow.
    """
    if not PassageTexts(parts).are_plain:
        raise DataError.at(
            parts.source,
            f"key_template={parts.options.key_template!r} does not change the passages of training "
            "rows of this format, which are plain texts (leave it out; give a corpus that needs it "
            "a key_template: corpus: {path: ..., key_template: ...})",
        )


def _by_name(record: Any) -> Mapping[str, Any]:
    """Return a record that :func:`id_and_text` accepted as a mapping; cells get names."""
    if isinstance(record, Mapping):
        contents = record.get("contents")
        if isinstance(contents, str) and "\n" in contents and not record.keys() & {"title", "text"}:
            title, text = contents.split("\n", 1)  # Anserini's title
            return {**record, "title": title, "text": text}
        return record
    names = ("id", "text") if len(record) == 2 else ("docid", "url", "title", "text")
    return dict(zip(names, record, strict=True))
