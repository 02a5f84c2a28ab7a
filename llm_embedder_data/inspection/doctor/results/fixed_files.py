"""``fix``: writes training files without faults that are certain, and counts every change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.file_names import file_names
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.inspection.doctor.checks.row_checks import false_negatives, repeated_rows
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import RowFingerprints
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.formats.flagembedding import ONE_NEGATIVE
from llm_embedder_data.rows.selection.filters import REASONS_OF_SETTINGS
from llm_embedder_data.rows.source_rows.row_instructions import (
    KEY_INSTRUCTION,
    QUERY_INSTRUCTION,
    count_instructed,
)
from llm_embedder_data.rows.train_set import TrainSet

# {(file, number of the record in the file): the fields of the record that have its answers}
AnswersByRecord = Mapping[tuple[str, int], Mapping[str, Any]]

ENDING = ".jsonl"

_BLOCK_ROWS = 1024


def rows_to_clean(train_set: TrainSet) -> TrainSet:
    """Return a training set with all rows that are not faulty, even if a setting leaves them out.

    Filters and samples belong to a run, not to the data, and a cleaned file may serve other runs.

    Returns:
        The training set with these rows as its kept rows; ``train_set`` itself if nothing changes.
    """
    by_settings = [
        numbers
        for reason, numbers in train_set.dropped_rows.items()
        if reason in REASONS_OF_SETTINGS
    ]
    is_kept = np.zeros(len(train_set.rows), bool)
    for numbers in (train_set.kept, *by_settings):
        is_kept[numbers] = True
    n_instructed = count_instructed(train_set.rows, is_kept)
    if not by_settings and n_instructed == train_set.n_instructed:
        return train_set
    return replace(train_set, kept=np.flatnonzero(is_kept), n_instructed=n_instructed)


def write_fixed(
    folder: str | Path,
    train_sets: Mapping[str, TrainSet],
    fingerprints: Mapping[str, RowFingerprints],
    contaminated: Mapping[str, NDArray[np.int64]],
    answers_by_record: Callable[[TrainSet], AnswersByRecord],
) -> dict[str, dict[str, int]]:
    """Write each training set without faults that are certain, as ``NAME.jsonl``.

    Left out are rows that repeat an earlier row, rows that contain the text of an eval query, and
    negatives that are positives of the same query. A row that loses its last negative is kept.
    Faulty rows, which were dropped when the data was read, are left out too.

    Args:
        folder: the folder to write to; made if it does not exist.
        train_sets: results of :func:`rows_to_clean`, by name.
        fingerprints: fingerprints of these training sets, by name.
        contaminated: the numbers of rows that contain an eval query, by training set.
        answers_by_record: returns the answers in the records of a training set.

    Returns:
        {training set: {reason: number of rows, or of negatives, that were not written}}. A reason
        is the name of a check, or the fault for which rows were dropped.

    Raises:
        ConfigError: the folder cannot be made, or two sets would be written to one file.
        DataError: a file cannot be written.
    """
    names = file_names(train_sets, ENDING, "fix")
    folder = with_home(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"fix={str(folder)!r}: {error.strerror} (give a folder)") from error
    false, repeated = false_negatives(fingerprints), repeated_rows(fingerprints)
    changes = {}
    for name, train_set in train_sets.items():
        of_rows, counts = fingerprints[name], Counter[str]()
        counts.update(
            {
                reason: n_rows
                for reason, n_rows in train_set.dropped.items()
                if reason not in REASONS_OF_SETTINGS
            }
        )
        is_left_out = repeated[name] | np.isin(of_rows.rows, contaminated[name])
        counts["duplicate_rows"] = int(repeated[name].sum())
        counts["contamination"] = int((is_left_out & ~repeated[name]).sum())
        answers = answers_by_record(train_set)
        path = folder / names[name]
        with writing(path, "fix"), atomic_file(path) as out:
            tables = train_set.tables(train_set.column_names)
            for start in range(0, len(of_rows.rows), _BLOCK_ROWS):
                block = range(start, min(start + _BLOCK_ROWS, len(of_rows.rows)))
                numbers = of_rows.rows[block.start : block.stop].tolist()
                table = tables.columns(numbers)
                places = located(train_set, numbers, with_lines=False) if answers else []
                for number, index in enumerate(block):
                    if is_left_out[index]:
                        continue
                    keys = slice(of_rows.bounds[index], of_rows.bounds[index + 1])
                    row = {column: values[number] for column, values in table.items()}
                    is_false = false[name][keys]
                    if is_false.all():  # candidates without labels, all known as positives
                        counts["no_candidates_left"] += 1
                        continue
                    record = _record(train_set, row, is_false, counts)
                    if answers:
                        at = places[number]
                        record |= answers.get((at.file, at.record), {})
                    out.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        changes[name] = {change: n for change, n in counts.items() if n}
    return changes


def _record(
    train_set: TrainSet,
    row: Mapping[str, Any],
    is_false: NDArray[np.bool_],
    counts: Counter[str],
) -> dict[str, Any]:
    """Return a row as a record of the cleaned file, without its false negatives; count these."""
    counts["positive_among_negatives"] += int(is_false.sum())
    n_pos, keys, scores = row["n_pos"], row["key"], row["teacher_scores"]
    kept = [i for i in range(len(keys)) if not is_false[i]]
    record: dict[str, Any] = {"query": row["query"]}
    if n_pos:
        record["pos"] = keys[:n_pos]
        record["neg"] = [keys[i] for i in kept if i >= n_pos]
    else:
        record["history"] = [keys[i] for i in kept]
    # A miner's scores are not written: the file would be read as one of teacher scores.
    if scores is not None and train_set.are_teacher_scores:
        record["teacher_scores"] = [scores[i] for i in kept]
    query_id = row["query_id_int"] if row["query_id_int"] is not None else row["query_id_str"]
    if query_id is not None:
        record["query_id"] = query_id
    # Always an object of both sides: a column with texts in some rows and objects in others has no
    # single type.
    instruction = {"query": row[QUERY_INSTRUCTION], "key": row[KEY_INSTRUCTION]}
    if any(text is not None for text in instruction.values()):
        record["instruction"] = instruction
    source_task = None if train_set.source is None else train_set.source.task
    if (task := row["task"] if row["task"] is not None else source_task) is not None:
        record["task"] = task
    return record if train_set.largest_group is None else _with_one_negative(record)


def _with_one_negative(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record in FlagEmbedding's format, whose ``type`` says that a query has two keys."""
    found = {**record, "type": ONE_NEGATIVE}
    if (instruction := found.pop("instruction", None)) is not None:
        found |= {"query_prompt": instruction["query"], "passage_prompt": instruction["key"]}
    if (scores := found.pop("teacher_scores", None)) is not None:
        n_pos = len(record["pos"])
        found |= {"pos_scores": scores[:n_pos], "neg_scores": scores[n_pos:]}
    return found
