"""Which passages are positives of a query by their ids, and which positives have no id to compare.

A positive whose text differs between row and corpus, as where only one of them has titles, is the
same passage by its id. Positives whose ids cannot be compared are counted, since such a positive
may be mined as a negative of its own query if its text differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import form_hashes
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.rows.positive_ids import POSITIVE_IDS

_ROWS_GIVE_NONE = "positives compared by text alone, as their rows give no id"
_CORPUS_LACKS_IT = "positives compared by text alone, as no passage has their id"
_CORPUS_HAS_NONE = "positives compared by text alone, as the corpus has no ids"
_NOWHERE = "positives that the corpus has neither by id nor by text"


def positives_by_id(
    positives: pa.Table, forms: Sequence[str], passages: MinablePassages
) -> tuple[Mapping[str, set[int]], Mapping[str, int]]:
    """Find the passages that have the id of a positive.

    Args:
        positives: those of all rows, as a table of
            :data:`~llm_embedder_data.rows.positive_ids.POSITIVE_IDS`.
        forms: the normal forms of the queries that negatives are mined for.
        passages: the passages to choose negatives from.

    Returns:
        The positions of the passages by the normal form of the query; and counts of positives of
        these queries that could not be compared, by a description for users. There are none if the
        candidates of the rows are searched, which contain each positive.
    """
    form_of = dict(zip(form_hashes(forms).tolist(), forms, strict=True))
    queries = positives.column("query").to_numpy()
    of_these = np.flatnonzero(np.isin(queries, np.array(list(form_of), np.uint64)))
    given = positives.take(pa.array(of_these))
    ids: list[str | None] = given.column("id").to_pylist()
    with_id = [i for i, one in enumerate(ids) if one is not None]
    found = passages.positions_of_ids([one for one in ids if one is not None])
    by_id: dict[str, set[int]] = {}
    is_found = np.zeros(len(ids), bool)
    hashes: list[int] = given.column("query").to_pylist()
    for i, positions in zip(with_id, found, strict=True):
        if len(positions):
            is_found[i] = True
            by_id.setdefault(form_of[hashes[i]], set()).update(positions.tolist())
    if passages.are_candidates:
        return by_id, {}
    is_given = given.column("id").is_valid().to_numpy()
    has_text = passages.have_texts(given.column("form").to_numpy())
    compared = Counter(
        {
            _CORPUS_LACKS_IT: int((is_given & ~is_found).sum()),
            _ROWS_GIVE_NONE: int((~is_given).sum()),
            _NOWHERE: int((~is_found & ~has_text).sum()),
        }
    )
    if not passages.have_ids:
        compared[_CORPUS_HAS_NONE] = len(ids)
        del compared[_CORPUS_LACKS_IT], compared[_ROWS_GIVE_NONE]
    return by_id, compared


class PositivesWithoutIds:
    """The positives of rows that give no ids, in the form of those that do."""

    def __init__(self) -> None:
        self._queries: list[str] = []
        self._forms: list[NDArray[np.uint64]] = []

    def add(self, query: str, positives: NDArray[np.uint64]) -> None:
        """Add the positives of a row.

        Args:
            query: the normal form of the row's query.
            positives: ``[p]`` uint64, hashes of the normal forms of its positives.
        """
        self._queries.append(query)
        self._forms.append(positives)

    def table(self) -> pa.Table:
        """Return a table of :data:`~llm_embedder_data.rows.positive_ids.POSITIVE_IDS`."""
        forms = np.concatenate([*self._forms, np.empty(0, np.uint64)])
        queries = np.repeat(form_hashes(self._queries), list(map(len, self._forms)))
        columns = [queries, pa.nulls(len(forms), pa.string()), forms]
        return pa.table(columns, schema=POSITIVE_IDS)
