"""Builds eval sets: the eval queries of a task of a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.faults.row_errors import error_at_row, require_rows
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.files.file_formats import Format
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.foreign_rows.source_reader import reader_of
from llm_embedder_data.rows.formats.mteb import names_candidates
from llm_embedder_data.rows.records.memory_records import MemoryRecords
from llm_embedder_data.rows.records.raw_files import RawFile, RecordPlace
from llm_embedder_data.rows.records.rejected_files import RejectedFile
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Row, stored_id
from llm_embedder_data.rows.schema.evaluation import (
    RERANK_ROWS,
    RETRIEVE_BY_ID_ROWS,
    EvalMethod,
    eval_rows,
)
from llm_embedder_data.rows.settings.key_templates import unless_default
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.instructed_texts import note_on_instructed_texts
from llm_embedder_data.rows.source_rows.row_instructions import count_instructed, kind_of_source
from llm_embedder_data.rows.source_rows.row_numbers import numbers_where
from llm_embedder_data.rows.source_rows.row_tables import RowTables
from llm_embedder_data.rows.source_rows.source_rows import RowShapes, read_source
from llm_embedder_data.rows.source_rows.task_split import split_by_task
from llm_embedder_data.rows.sources.sources import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The eval queries of a task of a source.

    Attributes:
        name: the name of the dataset.
        source: the name of its source. The two names are equal if the source has a single task.
        task: the task of all its rows.
        files: the files, in the order in which their rows are counted.
        digests: the digests of the files' content.
        rows: a memory-mapped dataset of all rows of the source, with the columns of
            ``RETRIEVE_SCHEMA``, ``RETRIEVE_BY_ID_SCHEMA`` or ``RERANK_SCHEMA``.
        n_rows: the number of rows of each file.
        format: the format of the files, a name of :mod:`llm_embedder_data.rows.formats`.
        container: the container of native files, which locates the lines of errors.
        kept: the numbers of the rows that are used, ascending, ``[n]`` int64.
        n_read: the number of rows of this task in the files.
        dropped: the number of rows that are not used, by reason.
        dropped_rows: the numbers of the rows that are not used, ascending, ``[m]`` int64, by
            reason. Records that became no row have no number.
        first_dropped: the location of the first record that became no row, by reason.
        rejected: the first records that became no row, with their content.
        task_description: the description of the task for the prompt of an instruct model; None for
            the recipe's.
        n_instructed: the number of kept rows that bring an instruction for their query; 0 if
            instructions are not used.
        notes: sentences for the report and the log.
        unread: (file, column) of columns that are not read although their names are known.
    """

    name: str
    source: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    format: str
    container: Format
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    dropped_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    first_dropped: Mapping[str, RecordPlace] = field(default_factory=dict)
    rejected: tuple[RejectedFile, ...] = ()
    task_description: str | None = None
    n_instructed: int = 0
    notes: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()

    def tables(self, columns: Sequence[str]) -> RowTables:
        """Return the rows as Arrow tables of some columns."""
        return RowTables(self.rows, columns)

    def error(self, row: int, sentence: str) -> DataError:
        """Return an error at a row, which names the row's file and its number there."""
        return error_at_row(
            self.files, self.n_rows, row, sentence, self.container, locations_of(self.rows)
        )


def _require_split(source: Source) -> None:
    """Refuse a folder of judgments without a split.

    Its rows are read as training rows are, so the split would be ``train`` without notice.

    Raises:
        ConfigError: the source is a folder and has no ``split``.
    """
    folders = [file for file in source.files if Path(file).is_dir()]
    if folders and "split" not in source.reader_options:
        raise ConfigError(
            f"data.eval_data: {folders[0]} is a folder, and eval_method='rerank' takes the judged "
            "passages of one of its splits (give the source a split, such as {path: ..., split: "
            "test})"
        )


def _shapes(source: Source, reading: ReadingSettings, eval_method: EvalMethod) -> RowShapes:
    native = kind_of_source(source, eval_rows(eval_method))
    if eval_method == "retrieve":
        return RowShapes(native, RETRIEVE_BY_ID_ROWS, _retrieve_record)
    folders = [file for file in map(Path, source.files) if file.is_dir()]
    if all(map(names_candidates, folders)) if folders else _ranks_by_id(source):
        documents = cache(lambda: _documents_of(source, reading))
        return RowShapes(
            native, RERANK_ROWS, lambda row: _ranked_record(row, documents()), kind="eval"
        )
    _require_split(source)
    # Training rows hold the texts of their candidates; eval rows only name documents.
    return RowShapes(native, RERANK_ROWS, _rerank_record, kind="train")


def _ranks_by_id(source: Source) -> bool:
    """Return whether rows name their relevant documents and the candidates to rerank by id."""
    needed = {"relevant", "candidates"}
    if source.data is not None:
        return needed <= MemoryRecords(source.name, data=source.data).fields.keys()
    files = [RawFile(file) for file in source.files if Path(file).is_file()]
    try:
        return bool(files) and all(needed <= file.fields.keys() for file in files)
    except DataError:  # reading the rows reports what is wrong
        return False


def _documents_of(source: Source, reading: ReadingSettings) -> dict[str, tuple[int, str]]:
    """Return the number and the text of each passage of a source's corpus, by id.

    Raises:
        DataError: the source is no folder with a corpus, and names none.
    """
    corpus = source.reader_options.get("corpus")
    if corpus is not None:
        reader = RowReader(
            corpus,
            kind="corpus",
            on_bad_row=reading.on_bad_row,
            data_root=reading.data_root,
            cache_dir=reading.cache_folder,
            key_template=unless_default(reading.key_template),
        )
    elif all(map(os.path.isdir, source.files)):
        reader = reader_of(source, reading, "corpus")
    else:
        raise DataError.at(
            source.files[0],
            "its rows name the documents to rerank by id, and no corpus is given (give the source "
            "its corpus: {path: ..., corpus: ...})",
        )
    rows = reader.rows()
    return {row["id"]: (number, row["text"]) for number, row in enumerate(rows)}


def _ranked_record(row: Row, documents: Mapping[str, tuple[int, str]]) -> Mapping[str, Any]:
    """Return the record of an eval row that reranks what a run retrieved.

    ``pos_index`` also holds positives that the run did not retrieve. No ranking of the candidates
    can find these, so they lower the metrics as they should. Without a positive that the corpus
    does not have, recall and nDCG would rise.

    Args:
        row: a canonical eval row.
        documents: the number and the text of each document, by id.

    Raises:
        BadRowError: the corpus does not have a candidate or a positive.
        Dropped: the row has no candidates.
    """
    if not row.get("candidates"):
        raise Dropped("queries without candidates to rerank")
    positives = [name for name, grade in row["relevant"].items() if grade > 0]
    for what, names in (("candidate", row["candidates"]), ("relevant document", positives)):
        unknown = next((name for name in names if name not in documents), None)
        if unknown is not None:
            raise BadRowError(
                f"the corpus does not have the {what} {shown(unknown)} (give the corpus that the "
                "judgments and candidates belong to)"
            )
    candidates = [documents[name] for name in row["candidates"]]
    return {
        "query": row["query"],
        "query_id": stored_id(row["query_id"]),
        "task": row.get("task"),
        "instruction": row.get("instruction"),
        "key": [text for _, text in candidates],
        "key_index": [number for number, _ in candidates],
        "pos_index": [documents[name][0] for name in positives],
    }


def _retrieve_record(row: Row) -> Mapping[str, Any]:
    relevant = row["relevant"]
    return {
        "query": row["query"],
        "query_id": stored_id(row["query_id"]),
        "task": row.get("task"),
        "document": list(relevant),
        "grade": [float(grade) for grade in relevant.values()],
        "instruction": row.get("instruction"),
        "answers": row.get("answers"),
    }


def _rerank_record(row: Row) -> Mapping[str, Any]:
    record = {name: row.get(name) for name in ("query", "task", "instruction")}
    record["query_id"] = stored_id(row["query_id"])
    if row["candidates"] is not None:
        return {**record, "key": row["candidates"]}
    return {**record, "pos": row["pos"], "neg": row["neg"]}


def build_eval_sets(
    source: Source, reading: ReadingSettings, *, eval_method: EvalMethod
) -> list[EvalSet]:
    """Build the eval sets of a source: one per task that its rows name.

    Args:
        source: the source of the rows.
        reading: how the rows are read.
        eval_method: ``retrieve`` or ``rerank``.

    Raises:
        DataError: a row is bad, a task is unknown, or no row is left.
        ConfigError: a setting of the source cannot be used.
    """
    read = read_source(source, _shapes(source, reading, eval_method), reading)
    eval_sets: list[EvalSet] = []
    for task_rows in split_by_task(read, reading):
        is_kept = task_rows.chosen & read.sound
        kept = numbers_where(is_kept, read.folder)
        dropped = read.dropped if not eval_sets else {}
        eval_set = EvalSet(
            name=task_rows.name,
            source=source.name,
            task=task_rows.task,
            files=source.files,
            digests=read.digests,
            rows=read.rows,
            n_rows=read.n_rows,
            format=read.format,
            container=read.container,
            kept=kept,
            n_read=int(task_rows.chosen.sum()) + sum(dropped.values()),
            dropped={**dropped, **read.count_bad(task_rows.chosen)},
            dropped_rows={"bad_row": numbers_where(task_rows.chosen & ~read.sound, read.folder)},
            first_dropped=read.first_dropped if not eval_sets else {},
            rejected=read.rejected if not eval_sets else (),
            task_description=source.task_description,
            n_instructed=count_instructed(read.rows, is_kept) if reading.add_instruction else 0,
            unread=read.unread_beside(task_rows.chosen),
            notes=(
                *read.notes,
                *note_on_instructed_texts(
                    read, kept, reading, task_rows.task, source.task_description
                ),
            ),
        )
        require_rows(eval_set)
        eval_sets.append(eval_set)
    return eval_sets
