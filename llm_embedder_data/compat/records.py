"""Makes a training set from records in memory, as ``datasets.map`` passes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.schema.query_columns import INSTRUCTION
from llm_embedder_data.rows.schema.train import TRAIN_COLUMNS, train_batch
from llm_embedder_data.rows.selection.filters import count_reasons, drop_reasons
from llm_embedder_data.rows.selection.row_statistics import RowStatistics
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.train_set import TrainSet


def train_set_of(records: Sequence[Mapping[str, Any]], settings: TrainSettings) -> TrainSet:
    """Make a training set of the records that pass the filters.

    Args:
        records: rows in the canonical form: ``query``, ``pos``, ``neg`` and so on.
        settings: selection and filters.

    Raises:
        DataError: a record is not a valid row, or has no positive.
    """
    faults: list[str | None] = [None] * len(records)
    wanted = [column for column in TRAIN_COLUMNS if column != INSTRUCTION]
    columns = columns_of_records(records, wanted, faults)
    rows = datasets.Dataset(pa.Table.from_batches([train_batch(columns, faults)]))
    statistics = RowStatistics(rows.data)
    for row in np.flatnonzero(statistics.without_positive(settings)).tolist():
        faults[row] = faults[row] or f"no positive for {settings.select_positive!r} (give it a pos)"
    for number, fault in enumerate(faults):
        if fault is not None:
            raise DataError.at("batch", fault, row=number)
    reasons = drop_reasons(statistics, np.ones(len(records), bool), settings)
    kept = np.flatnonzero(reasons == 0)
    return TrainSet(
        name="batch",
        task="",
        files=(),
        digests=(),
        rows=rows,
        n_rows=(),
        kept=kept,
        n_read=len(records),
        dropped=count_reasons(reasons),
        settings=settings,
        n_scored=int(statistics.scored.sum()),
        n_without_negatives=0,
        most_negatives=int(statistics.negatives_left(settings)[kept].max(initial=0)),
    )
