"""``fix``: cleaned files, with every change counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.inspection.doctor.train_checks import (
    RowPrints,
    false_negatives,
    repeated_rows,
)
from llm_embedder_data.rows.train_sets import TrainSet

_ROWS_AT_ONCE = 1024


def write_fixed(
    folder: str | Path,
    train_sets: Mapping[str, TrainSet],
    prints: Mapping[str, RowPrints],
    contaminated: Mapping[str, NDArray[np.int64]],
) -> dict[str, dict[str, int]]:
    """Write each training set without what is certainly wrong, as ``NAME.jsonl``.

    Taken out are rows that repeat an earlier row, rows that hold the text of an eval query, and
    negatives that are positives of the same query; a row that loses its last negative stays.

    Args:
        folder: made if it is not there.
        train_sets: by name.
        prints: of the same sets.
        contaminated: row numbers by set.

    Returns:
        {name: {change: count}}

    Raises:
        ConfigError: the folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"fix={str(folder)!r}: {error.strerror} (give a folder)") from error
    false, repeated = false_negatives(prints), repeated_rows(prints)
    changes = {}
    for name, train_set in train_sets.items():
        one, counts = prints[name], Counter[str]()
        gone = repeated[name] | np.isin(one.rows, contaminated[name])
        counts["duplicate_rows"] = int(repeated[name].sum())
        counts["contamination"] = int((gone & ~repeated[name]).sum())
        path = folder / f"{name.replace('/', '_')}.jsonl"
        with atomic_file(path) as out:
            tables = train_set.tables(train_set.rows.column_names)
            for start in range(0, len(one.rows), _ROWS_AT_ONCE):
                places = np.arange(start, min(start + _ROWS_AT_ONCE, len(one.rows)))
                table = tables.columns(one.rows[places].tolist())
                for number, place in enumerate(places):
                    if gone[place]:
                        continue
                    own = slice(one.bounds[place], one.bounds[place + 1])
                    row = {column: values[number] for column, values in table.items()}
                    record = _record(row, false[name][own], counts)
                    out.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
        changes[name] = {change: n for change, n in counts.items() if n}
    return changes


def _record(
    row: Mapping[str, Any], is_false: NDArray[np.bool_], counts: Counter[str]
) -> dict[str, Any]:
    counts["positive_among_negatives"] += int(is_false.sum())
    n_pos, keys, scores = row["n_pos"], row["key"], row["teacher_scores"]
    kept = [i for i in range(len(keys)) if not is_false[i]]
    record: dict[str, Any] = {"query": row["query"]}
    if n_pos:
        record["pos"] = keys[:n_pos]
        record["neg"] = [keys[i] for i in kept if i >= n_pos]
    else:
        record["history"] = [keys[i] for i in kept]
    if scores is not None:
        record["teacher_scores"] = [scores[i] for i in kept]
    query_id = row["query_id_int"] if row["query_id_int"] is not None else row["query_id_str"]
    if query_id is not None:
        record["query_id"] = query_id
    if row["task"] is not None:
        record["task"] = row["task"]
    return record
