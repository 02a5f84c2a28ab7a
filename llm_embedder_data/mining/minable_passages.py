"""The passages that negatives are mined from, found by their texts and by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import form_hashes, normal_form
from llm_embedder_data.mining.embeddable_texts import CorpusTexts, EmbeddableTexts, ListedTexts
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.joins.side_car_documents import candidate_texts
from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts
from llm_embedder_data.rows.source_rows.row_tables import RowTables

_TEXTS_AT_ONCE = 8192


class MinablePassages:
    """Passages by position: first N passages that are searched, then F other candidates of rows.

    The candidates of a row are the texts of its column ``key``: positives and negatives.

    Args:
        corpora: the corpora to search; empty to search the candidates of ``rows``.
        rows: tables that have the column ``key``.

    Attributes:
        searched: the passages that are searched: a part for each corpus, or the rows' candidates.
        n_searched: N.
        further: candidates of the rows that no part contains. They are scored, but never mined.
        ids: ``[N + F]``, the id of each passage.
        usable: ``[N]`` bool, whether a searched passage may be mined. It is false for a blank
            passage, and for a passage with the id or the normalized text of an earlier passage.
        have_ids: whether any searched passage has an id in its corpus.
        are_candidates: whether the candidates of the rows are searched, because there is no corpus.
    """

    def __init__(self, corpora: Sequence[Corpus], rows: RowTables) -> None:
        candidates = _distinct(candidate_texts(rows))
        self.searched: list[EmbeddableTexts] = [CorpusTexts(corpus) for corpus in corpora]
        if not corpora:
            self.searched = [
                ListedTexts(candidates, ids_of_texts(candidates), name="candidates of the rows")
            ]
        forms = [
            form_hashes(part.at(np.arange(start, min(start + _TEXTS_AT_ONCE, len(part))))[0])
            for part in self.searched
            for start in range(0, len(part), _TEXTS_AT_ONCE)
        ]
        self._forms = np.concatenate([*forms, np.empty(0, np.uint64)])
        self.n_searched = len(self._forms)
        candidate_forms = form_hashes(candidates)
        missing = np.flatnonzero(~np.isin(candidate_forms, self._forms))
        texts = [candidates[i] for i in missing]
        self.further = ListedTexts(texts, ids_of_texts(texts), name="candidates of the rows")
        self._forms = np.concatenate([self._forms, candidate_forms[missing]])
        self._by_form = _HashPositions(self._forms)
        parts = [*self.searched, self.further]
        self.ids: list[str] = pa.concat_arrays([part.ids() for part in parts]).to_pylist()
        id_hashes = _hashes_of_ids(self.ids[: self.n_searched])
        self.usable = _is_new(id_hashes) & self._has_new_text()
        self.are_candidates = not corpora
        with_id = np.flatnonzero(_have_ids_in_corpora(corpora))
        self.have_ids = bool(len(with_id))
        self._by_id = _HashPositions(id_hashes[with_id], with_id)

    def positions(self, forms: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
        """Return, for each normal form, the positions of the passages that have it, ascending.

        Args:
            forms: ``[m]`` uint64, from :func:`~llm_embedder_data.core.normal_form.form_hashes`.
        """
        return self._by_form.of(forms)

    def have_texts(self, forms: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return whether a searched passage has each normal form, ``[m]`` bool."""
        return np.isin(forms, self._forms[: self.n_searched])

    def positions_of_ids(self, ids: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return, for each id, the positions of the searched passages that have it, ascending.

        A passage without an id in its corpus is never found: its row number, which stands for the
        id elsewhere, is not compared.
        """
        return self._by_id.of(_hashes_of_ids(ids))

    def texts(self, positions: NDArray[np.int64]) -> list[str]:
        """Return the texts of the passages at ``[n]`` int64 positions."""
        found = [""] * len(positions)
        start = 0
        for part in [*self.searched, self.further]:
            here = np.flatnonzero((positions >= start) & (positions < start + len(part)))
            if len(here):
                texts, _ = part.at(positions[here] - start)
                for i, text in zip(here.tolist(), texts, strict=True):
                    found[i] = text
            start += len(part)
        return found

    def _has_new_text(self) -> NDArray[np.bool_]:
        forms = self._forms[: self.n_searched]
        blank = form_hashes([""])[0]
        is_new: NDArray[np.bool_] = _is_new(forms) & (forms != blank)
        return is_new


# --------------------------------------------------------------------------------------------------


class _HashPositions:
    """The positions of passages by a 64-bit hash, found by binary search.

    Args:
        hashes: ``[n]`` uint64, hashes of the passages; may repeat.
        positions: ``[n]`` int64, ascending, the positions of the passages; None for 0, 1, 2, ...
    """

    def __init__(
        self, hashes: NDArray[np.uint64], positions: NDArray[np.int64] | None = None
    ) -> None:
        order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[order]
        self._positions = order if positions is None else positions[order]

    def of(self, hashes: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
        """Return the positions of each hash, ascending; an empty array for an unknown hash."""
        left = np.searchsorted(self._sorted, hashes, "left")
        right = np.searchsorted(self._sorted, hashes, "right")
        return [self._positions[a:b] for a, b in zip(left.tolist(), right.tolist(), strict=True)]


def _hashes_of_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in ids], np.uint64)


def _have_ids_in_corpora(corpora: Sequence[Corpus]) -> NDArray[np.bool_]:
    """Return which passages of corpora have an id in their file, ``[n]`` bool."""
    found = [
        corpus.own_ids().is_valid().to_numpy(zero_copy_only=False)[corpus.kept]
        for corpus in corpora
    ]
    return np.concatenate([*found, np.empty(0, bool)])


def _distinct(blocks: Iterable[Sequence[str]]) -> list[str]:
    """Return one text for each normal form, in order of appearance."""
    found: dict[str, str] = {}
    for texts in blocks:
        for text in texts:
            found.setdefault(normal_form(text), text)
    return list(found.values())


def _is_new(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which values do not occur earlier in the array, ``[n]`` bool."""
    is_new = np.zeros(len(values), bool)
    is_new[np.unique(values, return_index=True)[1]] = True
    return is_new
