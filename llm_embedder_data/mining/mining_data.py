"""The input of mining: queries with their known positives, and the passages to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.mining.embeddable_texts import CorpusTexts, EmbeddableTexts, ListedTexts
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.joins.side_car_documents import candidate_texts
from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts
from llm_embedder_data.rows.source_rows.row_instructions import QUERY_INSTRUCTION
from llm_embedder_data.rows.source_rows.row_tables import RowTables

_TEXTS_AT_ONCE = 8192
_ROWS_AT_ONCE = 1024


# The columns of a dataset's rows that mining reads.
ROW_COLUMNS = (
    *("query", QUERY_INSTRUCTION, "query_id_int", "query_id_str"),
    *("key", "n_pos", "fault"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningData:
    """The training rows of one dataset, and the passages that may be their negatives.

    Attributes:
        name: the dataset's name.
        rows: all rows of the source, without side-cars, as tables of :data:`ROW_COLUMNS`.
        numbers: ``[n]`` int64, the rows whose queries get negatives.
        corpora: the corpora to search; empty to search the candidates of the rows.
        query_prompt: put before each query that has no instruction.
        key_prompt: put before each passage.
        query_max_length: limit of a query in tokens.
        key_max_length: limit of a passage in tokens.
        answers: answer strings by the normal form of the query. A passage that contains an answer
            is not mined.
    """

    name: str
    rows: RowTables
    numbers: NDArray[np.int64]
    corpora: Sequence[Corpus]
    query_prompt: str = ""
    key_prompt: str = ""
    query_max_length: int = 256
    key_max_length: int = 256
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)


class MinablePassages:
    """Passages by position: first the N that are searched, then F other candidates of the rows.

    Args:
        corpora: the corpora to search; empty to search the candidates of ``rows``.
        rows: tables of :data:`ROW_COLUMNS`.

    Attributes:
        searched: the passages that are searched: a part per corpus, or the rows' candidates.
        further: candidates of the rows that no part contains. They are scored, but never mined.
        ids: ``[N + F]``, the id of each passage.
        usable: ``[N]`` bool, whether a searched passage may be mined. A blank passage may not, nor
            one with the id or the normalized text of an earlier passage.
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
        self._order = np.argsort(self._forms, kind="stable")
        self._sorted = self._forms[self._order]
        parts = [*self.searched, self.further]
        self.ids: list[str] = pa.concat_arrays([part.ids() for part in parts]).to_pylist()
        self.usable = self._has_new_id() & self._has_new_text()

    def positions(self, forms: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
        """Return, for each normal form, the positions of the passages that have it, ascending.

        Args:
            forms: ``[m]`` uint64, from :func:`form_hashes`.
        """
        left = np.searchsorted(self._sorted, forms, "left")
        right = np.searchsorted(self._sorted, forms, "right")
        return [self._order[a:b] for a, b in zip(left.tolist(), right.tolist(), strict=True)]

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

    def _has_new_id(self) -> NDArray[np.bool_]:
        ids = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in self.ids], np.uint64)
        return _is_new(ids[: self.n_searched])

    def _has_new_text(self) -> NDArray[np.bool_]:
        forms = self._forms[: self.n_searched]
        blank = form_hashes([""])[0]
        is_new: NDArray[np.bool_] = _is_new(forms) & (forms != blank)
        return is_new


@dataclass(frozen=True, slots=True)
class MinedQueries:
    """The distinct queries of some rows, by their ids. Each list has an entry per query.

    Attributes:
        texts: the queries with their ids and instructions.
        known: positions of the passages that any row with the same query text labels as positive,
            whether the row is trained on or not. They are never mined.
        positives: positions of the positives in the rows with the query's id.
        own_negatives: positions of the negatives that these rows already have.
        answers: strings that a mined negative must not contain.
        n_other_texts: rows whose query id an earlier row gave to another query text. They count as
            rows of the earlier query.
    """

    texts: ListedTexts
    known: list[NDArray[np.int64]]
    positives: list[NDArray[np.int64]]
    own_negatives: list[NDArray[np.int64]]
    answers: list[Sequence[str]]
    n_other_texts: int

    def __len__(self) -> int:
        return len(self.known)


def queries_of(data: MiningData, passages: MinablePassages) -> MinedQueries:
    """Return the distinct queries of the rows ``data.numbers``."""
    wanted = np.zeros(len(data.rows), bool)
    wanted[data.numbers] = True
    known: dict[str, set[int]] = {}
    entries: dict[str, _Query] = {}
    n_other_texts = 0
    for row in _rows(data.rows, passages):
        known.setdefault(row.form, set()).update(row.positives)
        if not wanted[row.number]:
            continue
        entry = entries.setdefault(row.query_id, _Query(row.text, row.form, row.instruction))
        n_other_texts += entry.form != row.form
        entry.forms.add(row.form)
        entry.positives.update(row.positives)
        entry.own_negatives.update(row.negatives)
    ids, found = list(entries), list(entries.values())
    instructions = [entry.instruction for entry in found]
    return MinedQueries(
        texts=ListedTexts(
            [entry.text for entry in found],
            ids,
            own_instructions=instructions if any(instructions) else None,
            name=f"queries of {data.name}",
        ),
        known=[_array(set().union(*(known[form] for form in e.forms))) for e in found],
        positives=[_array(entry.positives) for entry in found],
        own_negatives=[_array(entry.own_negatives - entry.positives) for entry in found],
        answers=[[a for form in e.forms for a in data.answers.get(form, ())] for e in found],
        n_other_texts=n_other_texts,
    )


def form_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of the normal form of each text, ``[n]`` uint64."""
    digests = [xxhash.xxh3_64_intdigest(normal_form(text).encode()) for text in texts]
    return np.array(digests, np.uint64)


# --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Query:
    text: str
    form: str
    instruction: str | None
    forms: set[str] = field(default_factory=set)
    positives: set[int] = field(default_factory=set)
    own_negatives: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    query_id: str
    text: str
    form: str
    instruction: str | None
    positives: list[int]
    negatives: list[int]


def _rows(rows: RowTables, passages: MinablePassages) -> Iterator[_Row]:
    """Yield the rows without a fault, with the positions of their positives and negatives."""
    number = 0
    for batch in rows.blocks(_ROWS_AT_ONCE):
        for record in batch.to_pylist():
            number += 1
            if record["fault"] is not None:
                continue
            query_id, n_pos = record["query_id_str"], record["n_pos"]
            query_id = record["query_id_int"] if query_id is None else query_id
            # The candidates of a row without a positive have no labels.
            keys = record["key"] if n_pos else []
            of_keys = passages.positions(form_hashes(keys))
            text = record["query"]
            yield _Row(
                number=number - 1,
                query_id=ids_of_texts([text])[0] if query_id is None else str(query_id),
                text=text,
                form=normal_form(text),
                instruction=record[QUERY_INSTRUCTION],
                positives=[p for found in of_keys[:n_pos] for p in found.tolist()],
                negatives=[p for found in of_keys[n_pos:] for p in found.tolist()],
            )


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


def _array(positions: set[int]) -> NDArray[np.int64]:
    return np.array(sorted(positions), np.int64)
