"""Joins the side-cars of a source to its rows when the source is opened; cached by content.

Side-cars are the files of negatives and scores. The rows are first read and cached without them, so
that the files of rows are not read again for other side-cars. A row keeps its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import xxhash

from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import not_written
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.rows.columns.column import Faults
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.faults.row_locations import (
    LOCATION_COLUMNS,
    locations_of,
    summary_of,
    with_files,
)
from llm_embedder_data.rows.files.large_batches import LargeBatches
from llm_embedder_data.rows.joins.passages_and_texts import PassagesAndTexts
from llm_embedder_data.rows.joins.side_car_documents import SideCarDocuments
from llm_embedder_data.rows.passages.passages import opened_passages
from llm_embedder_data.rows.records.rejected_files import (
    RejectedFile,
    has_rejected,
    write_rejected,
)
from llm_embedder_data.rows.records.rejected_records import RejectedRecords, gathering
from llm_embedder_data.rows.schema.canonical_rows import Row, train_record
from llm_embedder_data.rows.schema.reading import cache_names, make_folder, open_cached
from llm_embedder_data.rows.schema.row_kind import RowKind
from llm_embedder_data.rows.schema.train import TRAIN_ROWS
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.side_cars.parts_beside import read_run, read_scores
from llm_embedder_data.rows.side_cars.scores_beside import ScoresBeside, scores_beside
from llm_embedder_data.rows.side_cars.side_cars import SideCars
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.source_rows.source_rows import SourceRows
from llm_embedder_data.rows.sources.source_content import digests_at
from llm_embedder_data.rows.sources.sources import SIDE_CARS, Source

# Part of the cache's name. Raise it when what is written changes.
_VERSION = 3

# The column with the hashes of texts that are positives of the row's query but not among the row's
# candidates: positives of other rows with the query, and documents that a miner took for positives.
KNOWN_ID = "known_id"

_BLOCK_ROWS = 512

_SIDES = ("pos", "neg", "candidates")


def without_side_cars(source: Source) -> Source:
    """Return a source without its side-cars."""
    options = {n: value for n, value in source.reader_options.items() if n not in SIDE_CARS}
    return replace(source, reader_options=options)


def with_negatives(source: Source, path: str) -> Source:
    """Return a source with another file of negatives."""
    return replace(source, reader_options={**source.reader_options, "negatives": path})


def without_corpus(source: Source) -> Source:
    """Return a source without the corpus whose document ids its side-cars use."""
    options = {n: value for n, value in source.reader_options.items() if n != "corpus"}
    return replace(source, reader_options=options)


def with_side_cars(read: SourceRows, source: Source, reading: ReadingSettings) -> SourceRows:
    """Return rows with the side-cars of a source, from the cache if they were joined before.

    Args:
        read: the rows without side-cars.
        source: names the side-cars and the corpus of their documents.
        reading: how the source is read.

    Returns:
        The rows with the additional column :data:`KNOWN_ID`. If keys are passage numbers, those of
        joined negatives are numbers too.

    Raises:
        DataError: a file cannot be read, or is not a run or a file of scores.
    """
    named = {name: source.reader_options.get(name) for name in SIDE_CARS}
    given = {name: value for name, value in named.items() if value is not None}
    if not given:
        return replace(read, source=source)
    files = {name: _files_of(value, source, name, reading) for name, value in given.items()}
    beside, notes = scores_beside(files.get("negatives", {}))
    digests = {
        name: xxhash.xxh3_128_hexdigest(repr(list(found.values())).encode())
        for name, found in sorted(files.items())
    }
    for name, found in files.items():
        if with_beside := scores_beside(found)[0]:
            digests[name] += f"+{with_beside.digest}"
    keys = None if read.passages is None else PassagesAndTexts(read.passages)
    documents = SideCarDocuments(source, reading, read.tables, keys)
    base = cache_names(read.rows)
    identity = (_VERSION, base, len(read.rows), digests, documents.digest)
    name = xxhash.xxh3_128_hexdigest(repr(identity).encode())
    cached = reading.cache_folder / f"joined-{name}.arrow"
    summary = _summary(cached, reading.cache_folder)
    if summary is None:
        make_folder(reading.cache_folder)
        with locked(cached):
            summary = _summary(cached, reading.cache_folder)
            if summary is None:
                with gathering() as rejected:
                    summary = _write(
                        cached,
                        _JoiningRows(read, keys, skips_bad_rows=reading.on_bad_row == "skip"),
                        _side_cars(given, beside, documents, read, reading),
                        rejected,
                    )
    joined = replace(
        read,
        source=source,
        rows=_opened(cached, name, read.rows),
        passages=opened_passages(reading.cache_folder, summary["passages"]),
        side_cars=digests | documents.corpus_digest,
        base_files=tuple(base),
        are_teacher_scores="scores" in given,
        rejected=(*read.rejected, RejectedFile(cached, summary["n_rejected"])),
    )
    joined.notes = [
        *read.notes,
        *notes,
        *(f"{n:,} {what}" for what, n in summary["counts"].items()),
    ]
    return joined


# --------------------------------------------------------------------------------------------------


def _files_of(value: Any, source: Source, name: str, reading: ReadingSettings) -> dict[str, str]:
    where = f"{source.name}.{name}"
    settings = {"data_root": reading.data_root, "cache_dir": reading.cache_folder}
    return digests_at(value, "train", settings, where, reading.cache_folder)


def _summary(cached: Path, folder: Path) -> dict[str, Any] | None:
    summary = read_checked_json(summary_of(cached))
    if not isinstance(summary, dict) or not is_whole(cached):
        return None
    if not has_rejected(cached, summary["n_rejected"]):
        return None
    if not all(is_whole(folder / name) for name in summary["passages"] or ()):
        return None
    return summary


def _opened(cached: Path, name: str, rows: datasets.Dataset) -> datasets.Dataset:
    locations = locations_of(rows)
    opened = open_cached(cached, name)
    return opened if locations is None else with_files(opened, locations.files)


def _side_cars(
    given: Mapping[str, Any],
    beside: ScoresBeside,
    documents: SideCarDocuments,
    read: SourceRows,
    reading: ReadingSettings,
) -> SideCars:
    shared = {
        "data_root": reading.data_root,
        "cache_dir": reading.cache_folder,
        "on_bad_row": reading.on_bad_row,
    }

    negatives, scores = given.get("negatives"), given.get("scores")
    return SideCars(
        None if negatives is None else lambda: read_run(negatives, shared, "negatives")[0],
        None if scores is None else lambda: read_scores(scores, shared)[0],
        documents.texts,
        beside=beside.read,
        positives=positives_of_queries(read),
        keeps_mined_scores=True,
    )


def positives_of_queries(read: SourceRows) -> dict[str, dict[str, str]]:
    """Return the positives of queries that have several rows.

    Returns:
        ``{query: {positive: its text}}``, with queries and positives in normal form. Queries with a
        single row are left out, because the row itself holds their positives.
    """
    count: Counter[str] = Counter()
    for chunk in read.rows.data.column("query").chunks:
        count.update(normal_form(text) for text in chunk.to_pylist() if text is not None)
    found: dict[str, dict[str, str]] = {}
    if len(count) == count.total():
        return found
    for batch in read.tables(["query", "key", "n_pos"]).blocks():
        queries = batch.column("query").to_pylist()
        forms = [normal_form(text) if text is not None else "" for text in queries]
        for i in [i for i, form in enumerate(forms) if count[form] > 1]:
            keys, n_pos = batch.column("key")[i], batch.column("n_pos")[i].as_py()
            positives = found.setdefault(forms[i], {})
            for text in (keys[j].as_py() for j in range(n_pos or 0)):
                positives.setdefault(normal_form(text), text)
    return found


def _write(
    cached: Path, joining: _JoiningRows, side_cars: SideCars, rejected: RejectedRecords
) -> dict[str, Any]:
    """Write the joined rows and their summary; return the summary."""
    read, keys = joining.read, joining.keys
    located = [field for field in LOCATION_COLUMNS if field[0] in read.rows.column_names]
    schema = pa.schema([*joining.kind.schema, *located, (KNOWN_ID, pa.list_(pa.int64()))])
    try:
        with sealed_file(cached) as file, LargeBatches(file, schema) as writer:
            start = 0
            for batch in RowTables(read.rows, read.rows.column_names).blocks(_BLOCK_ROWS):
                writer.write_batch(_joined(batch, start, side_cars, joining, schema))
                start += len(batch)
            side_cars.check_met(read.source.name)
        passages = None if keys is None else keys.written(cached.parent, cached.stem)
        summary = {
            "counts": dict(joining.counts),
            "passages": None if passages is None else passages.names,
            "n_rejected": write_rejected(cached, rejected),
        }
        write_checked_json(summary_of(cached), summary)
    except OSError as error:
        what = f"the rows of {one_line(read.source.name)} with their side-cars"
        raise not_written(what, cached.parent, error) from error
    return summary


@dataclass(slots=True)
class _JoiningRows:
    """The rows, and what is counted while side-cars are joined to them.

    Attributes:
        read: the rows without side-cars.
        keys: the passages whose numbers are the rows' keys, and texts that are joined; None if keys
            are texts.
        counts: what was counted, by a description.
        number: the number of the row that is being joined.
        skips_bad_rows: whether bad rows are skipped, instead of being errors.
    """

    read: SourceRows
    keys: PassagesAndTexts | None
    counts: Counter[str] = field(default_factory=Counter)
    number: int = 0
    skips_bad_rows: bool = False

    @property
    def kind(self) -> RowKind:
        """The kind of the joined rows."""
        if self.keys is None or TRAIN_ROWS.of_passages is None:
            return TRAIN_ROWS
        return TRAIN_ROWS.of_passages(self.keys)

    def error(self, sentence: str) -> DataError:
        return self.read.error(self.number, sentence)

    def canonical(self, record: Mapping[str, Any]) -> Row:
        """Return a stored row as a canonical row; texts of passages carry the passages' numbers."""
        if self.keys is not None:
            record = {**record, "key": self.keys.numbered(record["key"] or [])}
        return _canonical(record)

    def record(self, row: Row) -> Mapping[str, Any]:
        """Return a canonical row as a record with the fields of ``kind``."""
        if self.keys is not None:
            number_of = self.keys.number_of
            sides = {n: row[n] and list(map(number_of, row[n])) for n in _SIDES}
            row = {**row, **sides}
        return train_record(row)


def _joined(
    batch: pa.RecordBatch,
    start: int,
    side_cars: SideCars,
    joining: _JoiningRows,
    schema: pa.Schema,
) -> pa.RecordBatch:
    """Return some rows with their side-cars; bad rows are not changed."""
    faults: Faults = batch.column("fault").to_pylist()
    rows = [joining.canonical(record) for record in batch.to_pylist()]
    sound = [(row, start + i) for i, row in enumerate(rows) if faults[i] is None]
    side_cars.fetch(sound)
    for row, number in sound:
        joining.number = number
        rows[number - start] = side_cars.join(row, number, joining)
    kind = joining.kind
    records = [joining.record(row) for row in rows]
    built = kind.build(columns_of_records(records, kind.file_columns, faults), faults)
    beside = [batch.column(field.name) for field in list(schema)[len(kind.schema) : -1]]
    known: list[Any] = [text_ids(row["known"]) if row.get("known") else [] for row in rows]
    arrays = [*built.columns, *beside, pa.array(known, schema.field(KNOWN_ID).type)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _canonical(record: Mapping[str, Any]) -> Row:
    """Return a row of ``TRAIN_SCHEMA`` as a canonical row."""
    keys, n_pos = record["key"] or [], record["n_pos"] or 0
    text_id = record["query_id_str"]
    instruction = {side: record[f"{side}_instruction"] for side in ("query", "key")}
    return {
        "query": record["query"],
        "pos": keys[:n_pos],
        "neg": keys[n_pos:] if n_pos else [],
        "candidates": None if n_pos else keys,
        "teacher_scores": record["teacher_scores"],
        "query_id": record["query_id_int"] if text_id is None else text_id,
        "instruction": instruction if any(instruction.values()) else None,
        "task": record["task"],
    }
