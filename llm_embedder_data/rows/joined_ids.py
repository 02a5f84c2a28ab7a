"""Joins eval rows that name documents by id to the passages of a corpus."""

from __future__ import annotations

from dataclasses import dataclass, replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.sealed_files import is_whole, sealed_file
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.columns.column import FLOATS, INTS
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.faults.row_errors import require_rows
from llm_embedder_data.rows.faults.row_locations import locations_of, with_files
from llm_embedder_data.rows.formats.looked_up_ids import MOST_UNKNOWN
from llm_embedder_data.rows.schema.reading import cache_names, make_folder, open_cached
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_numbers import numbers_where

# Part of the cache's name. Raise it when what is written changes.
_VERSION = 2


def names_documents(eval_set: EvalSet) -> bool:
    """Return whether the rows of an eval set name documents by id."""
    return "document" in eval_set.rows.column_names


def joined_to(eval_set: EvalSet, corpus: Corpus, reading: ReadingSettings) -> EvalSet:
    """Return an eval set whose ``pos_index`` holds row numbers of a corpus.

    The new column ``grades`` has the grades of the same documents. Documents of grade 0 are in
    neither column. A relevant document that the corpus does not have gets a number that no passage
    has, from the number of the corpus's rows on: no search finds it, so it lowers recall and nDCG,
    as in trec_eval. Unknown ids are counted. A row is bad if all its ids are unknown.

    Args:
        eval_set: an eval set for which :func:`names_documents` is true.
        corpus: the passages.
        reading: whether unknown ids are errors.

    Raises:
        DataError: no id is known; or no row is left; or, unless bad rows are skipped, a row has no
            known id, or more than 1 % of the ids are unknown.
    """
    found = _matches(eval_set, corpus)
    is_kept = np.zeros(len(eval_set.rows), bool)
    is_kept[eval_set.kept] = True
    unknown = (found.passages < 0) & is_kept[found.row_of_id]
    n_ids = int(is_kept[found.row_of_id].sum())
    n_unknown = int(unknown.sum())
    notes, dropped = list(eval_set.notes), dict(eval_set.dropped)
    dropped_rows = dict(eval_set.dropped_rows)
    if n_unknown:
        is_lost = is_kept & found.without_any(len(is_kept))
        n_lost = int(is_lost.sum())
        _check_unknown(eval_set, corpus, found, unknown, n_ids, is_lost, reading)
        n_relevant = int((unknown & (found.grades > 0) & ~is_lost[found.row_of_id]).sum())
        notes.append(
            f"{n_unknown:,} judged document ids that corpus {corpus.name!r} does not have; "
            f"{n_relevant:,} of these are relevant to queries that are used, and count as not found"
        )
        if n_lost:
            dropped["documents unknown"] = dropped.get("documents unknown", 0) + n_lost
            dropped_rows["documents unknown"] = numbers_where(is_lost, reading.cache_folder)
            is_kept &= ~is_lost
    joined = replace(
        eval_set,
        rows=_joined_rows(eval_set, corpus, found.numbered_from(len(corpus.rows)), reading),
        kept=numbers_where(is_kept, reading.cache_folder),
        dropped=dropped,
        dropped_rows=dropped_rows,
        notes=tuple(notes),
    )
    require_rows(joined)
    return joined


# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Matches:
    """The document ids of all rows, concatenated, ``[n_ids]`` each.

    Attributes:
        ids: the ids, as text.
        passages: the row number in the corpus, int64; -1 for an unknown id.
        grades: the grade of the document, float64.
        row_of_id: the number of the row that names the document, int64.
    """

    ids: pa.StringArray
    passages: NDArray[np.int64]
    grades: NDArray[np.float64]
    row_of_id: NDArray[np.int64]

    def without_any(self, n_rows: int) -> NDArray[np.bool_]:
        """Return whether each row names documents, none of which is known, ``[n_rows]`` bool."""
        n_named = np.bincount(self.row_of_id, minlength=n_rows)
        n_known = np.bincount(self.row_of_id[self.passages >= 0], minlength=n_rows)
        without: NDArray[np.bool_] = (n_named > 0) & (n_known == 0)
        return without

    def numbered_from(self, start: int) -> _Matches:
        """Return the same ids, where each unknown id has a number of its own, from ``start`` on."""
        is_unknown = self.passages < 0
        passages = self.passages.copy()
        passages[is_unknown] = start + np.arange(int(is_unknown.sum()))
        return replace(self, passages=passages)


def _matches(eval_set: EvalSet, corpus: Corpus) -> _Matches:
    table = eval_set.rows.data
    documents = table.column("document")
    ids = pc.list_flatten(documents).combine_chunks()
    lengths = pc.list_value_length(documents).fill_null(0).to_numpy()
    passages = pc.index_in(ids, value_set=corpus.ids()).fill_null(-1).to_numpy().astype(np.int64)
    is_passage = np.zeros(len(corpus.rows) + 1, bool)  # the last entry is for unknown ids, -1
    is_passage[corpus.kept] = True
    return _Matches(
        ids=ids,
        passages=np.where(is_passage[passages], passages, -1),
        grades=pc.list_flatten(table.column("grade")).to_numpy(),
        row_of_id=np.repeat(np.arange(len(lengths)), lengths),
    )


def _check_unknown(
    eval_set: EvalSet,
    corpus: Corpus,
    found: _Matches,
    unknown: NDArray[np.bool_],
    n_ids: int,
    is_lost: NDArray[np.bool_],
    reading: ReadingSettings,
) -> None:
    """Check that enough ids are known.

    Raises:
        DataError: see :func:`joined_to`.
    """
    first = int(np.flatnonzero(unknown)[0])
    example = shown(found.ids[first].as_py())
    known = shown(corpus.ids()[int(corpus.kept[0])].as_py())
    n_unknown = int(unknown.sum())
    compared = f"such as {example}; corpus {corpus.name!r} has ids such as {known}"
    if n_unknown == n_ids:
        raise eval_set.error(
            int(found.row_of_id[first]),
            f"none of the {n_ids:,} document ids of dataset {eval_set.name!r} is in the corpus, "
            f"{compared} (give the corpus that the ids belong to)",
        )
    if reading.on_bad_row == "skip":
        return
    skips = "data.on_bad_row=skip leaves them out and counts them"
    if is_lost.any():
        row = int(np.flatnonzero(is_lost)[0])
        raise eval_set.error(
            row,
            f"no document of the row is in the corpus, {compared}; in {int(is_lost.sum()):,} rows "
            f"({skips})",
        )
    if n_unknown > MOST_UNKNOWN * n_ids:
        raise eval_set.error(
            int(found.row_of_id[first]),
            f"{n_unknown:,} of {n_ids:,} document ids of dataset {eval_set.name!r} are not in the "
            f"corpus, {compared} ({skips})",
        )


def _joined_rows(
    eval_set: EvalSet, corpus: Corpus, found: _Matches, reading: ReadingSettings
) -> datasets.Dataset:
    """Return the rows with ``pos_index`` and ``grades`` in place of ids, memory-mapped."""
    folder = reading.cache_folder
    id_digest = xxhash.xxh3_128_hexdigest(found.passages.tobytes())
    made_of = cache_names(eval_set.rows), cache_names(corpus.rows)
    identity = (_VERSION, *made_of, id_digest, len(eval_set.rows))
    name = xxhash.xxh3_128_hexdigest(repr(identity).encode())
    cached = folder / f"joined-{name}.arrow"
    if not is_whole(cached):
        make_folder(folder)
        with locked(cached):
            if not is_whole(cached):
                try:
                    with sealed_file(cached) as file:
                        table = _joined_table(eval_set, found)
                        with pa.ipc.new_stream(file, table.schema) as writer:
                            writer.write_table(table)
                except OSError as error:
                    raise DataError.at(
                        str(folder),
                        f"the cache cannot be written: {reason(error)} ({remedy(error)})",
                    ) from error
    locations = locations_of(eval_set.rows)
    joined = open_cached(cached, name)
    return joined if locations is None else with_files(joined, locations.files)


def _joined_table(eval_set: EvalSet, found: _Matches) -> pa.Table:
    is_relevant = found.grades > 0
    n_rows = len(eval_set.rows)
    lengths = np.bincount(found.row_of_id[is_relevant], minlength=n_rows)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    arrays = {
        "pos_index": pa.ListArray.from_arrays(offsets, pa.array(found.passages[is_relevant])),
        "grades": pa.ListArray.from_arrays(offsets, pa.array(found.grades[is_relevant])),
    }
    assert (arrays["pos_index"].type, arrays["grades"].type) == (INTS, FLOATS)
    table = eval_set.rows.data.table
    left = {name: table.column(name) for name in table.column_names}
    for name in ("document", "grade"):
        del left[name]
    return pa.table({**left, **arrays}).combine_chunks()
