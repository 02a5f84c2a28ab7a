"""Turns texts of rows into passages, in a source where other rows name documents by id.

The texts go to a separate file of passages, whose numbers follow those of the corpora. All keys are
then passage numbers, and no text of a corpus is copied into rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.faults.file_shapes import ids_for_texts
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.passages.passage_building import Passage, passages_in
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import RecordPlace
from llm_embedder_data.rows.records.rejected_records import note_rejected
from llm_embedder_data.rows.schema.canonical_rows import Row, has_passage_numbers

_SIDES = ("pos", "neg", "candidates")

# The number of texts that are checked for being ids whose corpus is not given.
_LOOKED_AT = 1000

_SURROGATE = "rows with a lone surrogate, half of a character such as an emoji"


@dataclass(frozen=True, slots=True)
class TextsOfRows:
    """The texts of a source's rows, as passages.

    Attributes:
        passages: the passages of the corpora, followed by the texts in the order of the rows.
        start: the number of the first text.
        dropped: the number of rows that :meth:`numbered` left out, by reason.
        first_dropped: the location of the first of these rows, by reason.
    """

    passages: Passages
    start: int
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, RecordPlace] = field(default_factory=dict)

    def numbered(self, reader: RowReader) -> Iterator[Row]:
        """Yield the rows of a source, with the numbers of their texts in place of the texts.

        Args:
            reader: a new reader of the same rows.
        """
        number = self.start
        for row in reader.numbered_rows():
            if has_passage_numbers(row) is False:
                if not _is_sound(row):
                    self.dropped[_SURROGATE] += 1
                    if reader.at is not None:
                        path, record = reader.at
                        at = path, record.row, record.line
                        self.first_dropped.setdefault(_SURROGATE, at)
                        note_rejected(*at, _SURROGATE, record.value)
                    continue
                for side in _SIDES:
                    if row[side]:
                        end = number + len(row[side])
                        row[side], number = list(range(number, end)), end
            yield row


def texts_of_rows(
    folder: Path,
    digests: Mapping[str, str],
    name: str,
    reader: RowReader,
    *,
    skips_bad_rows: bool,
) -> TextsOfRows:
    """Return the texts of a source's rows as passages, from the cache if they are there.

    Args:
        folder: the folder of all caches.
        digests: the digests of the source's files, by path.
        name: the name of the rows' cache file, which depends on all settings.
        reader: a new reader of the rows.
        skips_bad_rows: whether rows with a text that cannot be stored are left out.

    Raises:
        DataError: the data cannot be read, the texts look like ids, or a text cannot be stored.
    """
    passages = _passages(reader, skips_bad_rows)

    def read() -> Iterator[Passage]:
        first = list(islice(passages, _LOOKED_AT))
        looked_at = [[str(passage.text.encode("utf-8", "replace"), "utf-8")] for passage in first]
        column = pa.chunked_array([pa.array(looked_at, pa.list_(pa.string()))])
        if sentence := ids_for_texts(column, np.ones(len(first), bool)):
            at = first[0].at
            raise DataError.at(name if at is None else at[0], sentence)
        yield from first
        yield from passages

    settings = ("texts of rows", name)
    texts = passages_in(folder, digests, settings, read, name="rows", skips_bad_rows=False)
    for _ in passages:  # if the texts were cached, reading all rows is needed to find all corpora
        pass
    found = Passages(reader.passages.corpora)
    return TextsOfRows(found, found.add(texts))


# --------------------------------------------------------------------------------------------------


def _passages(reader: RowReader, skips_bad_rows: bool) -> Iterator[Passage]:
    number = 0
    for row in reader.numbered_rows():
        if has_passage_numbers(row) is False and not (skips_bad_rows and not _is_sound(row)):
            for text in _texts(row):
                yield Passage(str(number), text, reader.at)
                number += 1


def _texts(row: Row) -> Iterator[str]:
    return (text for side in _SIDES for text in row[side] or ())


def _is_sound(row: Row) -> bool:
    try:
        for text in _texts(row):
            text.encode()
    except UnicodeEncodeError:
        return False
    return True
