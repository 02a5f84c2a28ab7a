"""Reads the answers that records of training rows hold in addition to their candidates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.rows.foreign_rows.source_reader import reader_of
from llm_embedder_data.rows.joins.joined_rows import without_side_cars
from llm_embedder_data.rows.records.memory_records import MemoryRecords
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import Source

_FIELDS = ("answers", "answer")
_CONTEXT = "context"  # the text that holds the answer; a language model's prompt may use it


def answers_of(source: Source, settings: ReadingSettings) -> dict[str, list[str]]:
    """Return the answers of a source's queries, by the query's normal form.

    They are the texts in the field ``answers`` or ``answer`` of a record. The source is read only
    if the first records of a file have such a field.

    Raises:
        DataError: the data cannot be read.
    """
    found: dict[str, list[str]] = {}
    for _, query, record in _records(source, settings):
        answers = found.setdefault(normal_form(query), [])
        answers += [answer for answer in _texts_of(record) if answer not in answers]
    return {query: answers for query, answers in found.items() if answers}


def answers_by_record(
    source: Source, settings: ReadingSettings
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the answers of a source's records, by the record's file and its number in the file.

    Returns:
        ``{(file, number from 0): {"answers": texts}}``, plus the record's ``context`` if it has
        one. Records without answers are left out.

    Raises:
        DataError: the data cannot be read.
    """
    found = {}
    for at, _, record in _records(source, settings):
        if answers := _texts_of(record):
            context = record.get(_CONTEXT)
            has_context = isinstance(context, str) and context.strip()
            found[at] = {"answers": answers} | ({_CONTEXT: context} if has_context else {})
    return found


def _records(
    source: Source, settings: ReadingSettings
) -> Iterator[tuple[tuple[str, int], str, Mapping[str, Any]]]:
    """Yield the location, query and record of each row; nothing if no first record has answers."""
    if not any(map(_has_answers, source.files)) and not _data_has_answers(source):
        return
    reader = reader_of(without_side_cars(source), settings, "train")
    for row in reader.rows():
        if reader.at is not None and isinstance(reader.at[1].value, Mapping):
            path, record = reader.at
            yield (path, record.row), row["query"], record.value


def _has_answers(path: str) -> bool:
    return os.path.isfile(path) and any(name in RawFile(path).fields for name in _FIELDS)


def _data_has_answers(source: Source) -> bool:
    if source.data is None:
        return False
    fields = MemoryRecords(source.name, data=source.data, rename=None).fields
    return any(name in fields for name in _FIELDS)


def _texts_of(record: Mapping[str, Any]) -> list[str]:
    for name in _FIELDS:
        value = record.get(name)
        if isinstance(value, Mapping):  # as in SQuAD: {"text": [...], "answer_start": [...]}
            value = value.get("text")
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list):
            return [text for text in values if isinstance(text, str) and text.strip()]
    return []
