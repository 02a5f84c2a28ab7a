"""Finds the passages that are positives of a query by their ids.

The text of a positive may differ between row and corpus, for example if only one of them has
titles. The id shows that both are the same passage. If a positive's id cannot be compared and its
text differs, the passage may be mined as a negative of its own query. So these positives are
counted for the user.
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

_NO_ID_IN_ROW = "positives compared by text alone, as their rows give no id"
_NO_PASSAGE_HAS_ID = "positives compared by text alone, as no passage has their id"
_NO_IDS_IN_CORPUS = "positives compared by text alone, as the corpus has no ids"
_NOT_IN_CORPUS = "positives that the corpus has neither by id nor by text"


def positives_by_id(
    positives: pa.Table, forms: Sequence[str], passages: MinablePassages
) -> tuple[Mapping[str, set[int]], Mapping[str, int]]:
    """Find the passages that have the id of a positive.

    Args:
        positives: the positives of all rows, as a table of
            :data:`~llm_embedder_data.rows.positive_ids.POSITIVE_IDS`.
        forms: the normal forms of the queries that negatives are mined for.
        passages: the passages to choose negatives from.

    Returns:
        The positions of the passages by the normal form of the query; and counts of positives of
        these queries that could not be compared by id, by a description for users. There are no
        counts if the candidates of the rows are searched, because they contain each positive.
    """
    form_of = dict(zip(form_hashes(forms).tolist(), forms, strict=True))
    queries = positives.column("query").to_numpy()
    of_these = np.flatnonzero(np.isin(queries, np.array(list(form_of), np.uint64)))
    given = positives.take(pa.array(of_these))
    ids: list[str | None] = given.column("id").to_pylist()
    with_id = [i for i, passage_id in enumerate(ids) if passage_id is not None]
    found = passages.positions_of_ids([passage_id for passage_id in ids if passage_id is not None])
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
    not_compared = Counter(
        {
            _NO_PASSAGE_HAS_ID: int((is_given & ~is_found).sum()),
            _NO_ID_IN_ROW: int((~is_given).sum()),
            _NOT_IN_CORPUS: int((~is_found & ~has_text).sum()),
        }
    )
    if not passages.have_ids:
        not_compared[_NO_IDS_IN_CORPUS] = len(ids)
        del not_compared[_NO_PASSAGE_HAS_ID], not_compared[_NO_ID_IN_ROW]
    return by_id, not_compared


class PositivesWithoutIds:
    """Collects the positives of rows without ids, in the form that positives with ids have."""

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
