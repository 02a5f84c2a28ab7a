"""Finding the file, record and line that a dataset's rows came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.row_locations import locations_of
from llm_embedder_data.rows.files.json_files import lines_of
from llm_embedder_data.rows.train_set import TrainSet


@dataclass(frozen=True, slots=True)
class Location:
    """Where a row came from.

    Attributes:
        file: path of the file, as the source names it.
        record: number of the record in the file, from 0.
        line: number of the record's line, from 1; None if the file has no lines.
    """

    file: str
    record: int
    line: int | None = None

    def __str__(self) -> str:
        where = f"record {self.record}" if self.line is None else f"line {self.line}"
        return f"{self.file}, {where}"

    def as_dict(self) -> dict[str, Any]:
        """Return the location in plain Python."""
        return {"file": self.file, "record": self.record, "line": self.line}


def located(
    dataset: TrainSet | EvalSet | Corpus, rows: Sequence[int], *, with_lines: bool = True
) -> list[Location]:
    """Return where each row came from.

    Args:
        dataset: the dataset of the rows.
        rows: row numbers in the dataset; they may be of dropped rows.
        with_lines: whether to find the line of each record; for files with native rows, this reads
            the files again.
    """
    # In a corpus, the columns that say where a row came from are in the table of its ids.
    id_rows = dataset.id_rows if isinstance(dataset, Corpus) else None
    locations = locations_of(dataset.rows if id_rows is None else id_rows)
    if locations is not None:
        return [Location(*(locations.at(row) or (dataset.files[0], row, None))) for row in rows]
    sizes = dataset.n_rows
    ends = np.cumsum(sizes)
    file_of_row = np.searchsorted(ends, np.asarray(rows), side="right").tolist()
    numbers: dict[str, set[int]] = {}
    found = []
    for row, file in zip(rows, file_of_row, strict=True):
        number = int(row - ends[file] + sizes[file])
        found.append((dataset.files[file], number))
        numbers.setdefault(dataset.files[file], set()).add(number)
    # Data in memory has a name, but no file.
    lines = {
        file: lines_of(file, wanted) if with_lines and Path(file).is_file() else {}
        for file, wanted in numbers.items()
    }
    return [Location(file, number, lines[file].get(number)) for file, number in found]
