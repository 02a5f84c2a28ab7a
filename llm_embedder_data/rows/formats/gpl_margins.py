"""GPL's margins: ids of a query, a positive and a negative, and the difference of their scores.

A line, whose four cells are separated by tabs::

    q1  d7  d9  4.31

A file is known by four cells without a header, the last of them decimal numbers. A cross-encoder
scores the positive and the negative; only the difference is given, so the teacher scores of a row
are the difference and 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.format import Format, most_are
from llm_embedder_data.rows.formats.msmarco import cells
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Row,
    ids_of,
    scores_of,
    train_row,
)

_BLANK = re.compile(r"\s")


def _is_decimal(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _recognizes(file: RawFile) -> bool:
    rows = cells(file, 4)
    return (
        rows is not None
        and most_are(rows, lambda row: _is_decimal(row[3]) and not _BLANK.search(row[2]))
        and any("." in row[3] or "e" in row[3].lower() for row in rows if _is_decimal(row[3]))
    )


def _read(parts: Parts) -> Iterator[Row]:
    for record in parts.records():
        try:
            if not isinstance(record.value, list) or len(record.value) != 4:
                raise BadRowError("expected four cells: query id, positive id, negative id, margin")
            query_id, positive, negative, margin = record.value
            query_id, query = parts.query_of(query_id)
            if not isinstance(margin, str | int | float) or not _is_decimal(str(margin)):
                raise BadRowError(f"margin: expected a number, found {shown(margin)}")
            pos, neg, _ = parts.pos_and_neg_of(
                ids_of(positive, "positive"), ids_of(negative, "negative")
            )
            scores = parts.complete_scores(True, scores_of(([float(margin), 0.0], 2)))
            yield train_row(query, pos, neg, scores=scores, query_id=query_id)
        except (BadRowError, Dropped) as error:
            parts.leave_out(error)


GPL_MARGINS = Format(
    name="gpl_margins",
    what="GPL's query id, positive id, negative id and margin",
    recognizes=_recognizes,
    train=_read,
)
