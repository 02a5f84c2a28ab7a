"""GPL's margins: query id, positive id, negative id, and the teacher's difference of their scores."""

from __future__ import annotations

from collections.abc import Iterator

from llm_embedder_data.rows.canonical_rows import BadRowError, Row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.hard_negatives import query_of
from llm_embedder_data.rows.raw_files import RawFile


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _recognizes(file: RawFile) -> bool:
    rows = [value for value in file.head if isinstance(value, list)]
    return (
        bool(rows)
        and all(len(row) == 4 and _is_decimal(row[3]) and " " not in row[2] for row in rows)
        and any("." in row[3] or "e" in row[3].lower() for row in rows)
    )


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) != 4:
                raise BadRowError("expected four cells: query id, positive id, negative id, margin")
            query_id, positive, negative, margin = record.value
            own_id, query = query_of(query_id, parts)
            if not _is_decimal(margin):
                raise BadRowError(f"margin: expected a number, found {margin!r}")
            yield train_row(
                query,
                parts.joined([positive], "positive"),
                parts.joined([negative], "negative"),
                scores=[float(margin), 0.0],
                query_id=own_id,
            )
        except BadRowError as error:
            parts.leave_out(error)


GPL_MARGINS = Format(
    name="gpl_margins",
    what="GPL's query id, positive id, negative id and margin",
    recognizes=_recognizes,
    train=_read,
)
