"""Reads the ids that training rows give their positives, which only mining needs.

Batches do not need these ids, so cached rows do not hold them. The files are read a second time
instead, and the ids are cached separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from llm_embedder_data.core.file_errors import not_written
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.normal_form import form_hashes
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.files.large_batches import LargeBatches
from llm_embedder_data.rows.foreign_rows.foreign_rows import FORMATS_VERSION
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.foreign_rows.source_reader import reader_of
from llm_embedder_data.rows.formats.llm_embedder import LLM_EMBEDDER
from llm_embedder_data.rows.formats.passage_ids import ID_COLUMNS
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Row, has_passage_numbers
from llm_embedder_data.rows.schema.identified_texts import id_of_text
from llm_embedder_data.rows.schema.reading import cache_names, make_folder, open_cached
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.source_rows import SourceRows

# Part of the cache's name. Raise it when what is written changes.
_VERSION = 1

_BATCH_ROWS = 1000

# A row per labelled positive. ``query`` and ``form`` are hashes of the normal forms of its query
# and its text: see form_hashes. ``id`` is null if the row gives no id.
POSITIVE_IDS = pa.schema([("query", pa.uint64()), ("id", pa.string()), ("form", pa.uint64())])


def positive_ids(read: SourceRows, settings: ReadingSettings) -> pa.Table | None:
    """Return the ids of the positives of a source's rows, as a table of :data:`POSITIVE_IDS`.

    Args:
        read: the rows, without side-cars.
        settings: how they were read.

    Returns:
        The memory-mapped table. None if the rows cannot have ids, because they are streamed, or
        their files are native and have no column of ids.

    Raises:
        DataError: the files cannot be read again, or the cache cannot be written.
    """
    if read.source.streaming or (read.is_native and not any(map(_has_ids, read.source.files))):
        return None
    identity = (_VERSION, FORMATS_VERSION, cache_names(read.rows), read.digests)
    name = xxhash.xxh3_128_hexdigest(repr(identity).encode())
    cached = settings.cache_folder / f"positive-ids-{name}.arrow"
    if not is_whole(cached):
        make_folder(settings.cache_folder)
        with locked(cached):
            if not is_whole(cached):
                _write(cached, read, settings)
    return open_cached(cached, name).data.table


# --------------------------------------------------------------------------------------------------


def _has_ids(path: str) -> bool:
    return bool({*ID_COLUMNS} & {*RawFile(path).fields})


def _write(cached: Path, read: SourceRows, settings: ReadingSettings) -> None:
    source = read.source
    if read.is_native:
        source = replace(source, format=LLM_EMBEDDER.name)
    reader = reader_of(source, settings, "train", keeps_ids=True)
    try:
        with sealed_file(cached) as file, LargeBatches(file, POSITIVE_IDS) as writer:
            for columns in _columns(reader):
                writer.write_batch(pa.RecordBatch.from_pydict(columns, POSITIVE_IDS))
    except OSError as error:
        what = f"the ids of the positives of {one_line(read.source.name)}"
        raise not_written(what, cached.parent, error) from error


def _columns(reader: RowReader) -> Iterator[Mapping[str, Any]]:
    """Yield the columns of some positives at a time; at least once, even if there are none."""
    queries: list[str] = []
    texts: list[str] = []
    ids: list[str | None] = []
    for row in reader.numbered_rows():
        of_row = _texts_and_ids(row, reader)
        queries += [row["query"]] * len(of_row)
        texts += [text for text, _ in of_row]
        ids += [id for _, id in of_row]
        if len(queries) >= _BATCH_ROWS:
            yield {"query": form_hashes(queries), "id": ids, "form": form_hashes(texts)}
            queries, texts, ids = [], [], []
    yield {"query": form_hashes(queries), "id": ids, "form": form_hashes(texts)}


def _texts_and_ids(row: Row, reader: RowReader) -> list[tuple[str, str | None]]:
    if not has_passage_numbers(row):
        return [(text, id_of_text(text)) for text in row["pos"]]
    numbers = np.array(row["pos"], np.int64)
    return list(zip(reader.passages.texts(numbers), reader.passages.ids(numbers), strict=True))
