"""What negatives are mined for and from: queries with their known positives, and passages."""

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
from llm_embedder_data.rows.row_instructions import QUERY_INSTRUCTION
from llm_embedder_data.rows.row_tables import RowTables
from llm_embedder_data.rows.side_car_documents import candidate_texts
from llm_embedder_data.rows.stand_in_ids import ids_of_texts

_TEXTS_AT_ONCE = 8192
_ROWS_AT_ONCE = 1024


# Columns of a dataset's rows that mining reads.
ROW_COLUMNS = (
    *("query", QUERY_INSTRUCTION, "query_id_int", "query_id_str"),
    *("key", "n_pos", "fault"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningData:
    """The training rows of one dataset, and the passages that may be their negatives.

    Attributes:
        name: of the dataset.
        rows: all rows of the source, without side-cars, as tables of :data:`ROW_COLUMNS`.
        numbers: ``[n]`` int64, the rows whose queries are mined for.
        corpora: whose passages are searched; empty to search the candidates of the rows.
        query_prompt: that stands before each query without an instruction of its own.
        key_prompt: that stands before each passage.
        query_max_length: most tokens of a query.
        key_max_length: most tokens of a passage.
        answers: of rows' queries, by the query's normal form; a passage that holds one is no
            negative.
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
    """Passages by position: first the N that are searched, then further candidates of the rows.

    Args:
        corpora: whose passages are searched; empty to search the candidates of ``rows``.
        rows: as tables of :data:`ROW_COLUMNS`.

    Attributes:
        searched: the passages that are searched, in parts.
        further: candidates of rows that are in no part. They get scores, and are never mined.
        ids: ``[N + F]``, the id of each passage.
        usable: ``[N]`` bool, whether a searched passage may be mined: not if it is blank, or if its
            id or text has come before.
    """

    def __init__(self, corpora: Sequence[Corpus], rows: RowTables) -> None:
        own = _distinct(candidate_texts(rows))
        self.searched: list[EmbeddableTexts] = [CorpusTexts(corpus) for corpus in corpora]
        if not corpora:
            self.searched = [ListedTexts(own, ids_of_texts(own), name="candidates of the rows")]
        forms = [
            form_hashes(part.at(np.arange(start, min(start + _TEXTS_AT_ONCE, len(part))))[0])
            for part in self.searched
            for start in range(0, len(part), _TEXTS_AT_ONCE)
        ]
        self._forms = np.concatenate([*forms, np.empty(0, np.uint64)])
        self.n_searched = len(self._forms)
        own_forms = form_hashes(own)
        missing = np.flatnonzero(~np.isin(own_forms, self._forms))
        texts = [own[i] for i in missing]
        self.further = ListedTexts(texts, ids_of_texts(texts), name="candidates of the rows")
        self._forms = np.concatenate([self._forms, own_forms[missing]])
        self._order = np.argsort(self._forms, kind="stable")
        self._sorted = self._forms[self._order]
        parts = [*self.searched, self.further]
        self.ids: list[str] = pa.concat_arrays([part.ids() for part in parts]).to_pylist()
        self.usable = self._first_of_each_id() & self._first_of_each_text()

    def positions(self, forms: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
        """Return where the passages with some normal forms are, for each; ascending.

        Args:
            forms: ``[m]`` uint64, of :func:`form_hashes`.
        """
        left = np.searchsorted(self._sorted, forms, "left")
        right = np.searchsorted(self._sorted, forms, "right")
        return [self._order[a:b] for a, b in zip(left.tolist(), right.tolist(), strict=True)]

    def texts(self, positions: NDArray[np.int64]) -> list[str]:
        """Return the texts of some passages."""
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

    def _first_of_each_id(self) -> NDArray[np.bool_]:
        ids = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in self.ids], np.uint64)
        return _is_first(ids[: self.n_searched])

    def _first_of_each_text(self) -> NDArray[np.bool_]:
        forms = self._forms[: self.n_searched]
        blank = form_hashes([""])[0]
        usable: NDArray[np.bool_] = _is_first(forms) & (forms != blank)
        return usable


@dataclass(frozen=True, slots=True)
class MinedQueries:
    """The distinct queries of some rows, by their ids.

    Attributes:
        texts: of the queries with ids and own instructions.
        known: for each query, the positions of passages that are known positives: of all rows of
            the query, whether they are trained on or not.
        positives: likewise, of its labelled positives in rows of its id.
        own_negatives: likewise, of the negatives that its rows have already.
        answers: likewise, strings of which a negative may hold none.
        n_other_texts: ids that rows with another query text have too; these rows count for the
            query that came first.
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
    """Return the queries to mine for."""
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
    """Return 64-bit hashes of the normal forms of texts, ``[n]`` uint64."""
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
    """Yield the sound rows, with the positions of their labelled candidates."""
    number = 0
    for batch in rows.blocks(_ROWS_AT_ONCE):
        for record in batch.to_pylist():
            number += 1
            if record["fault"] is not None:
                continue
            own_id, n_pos = record["query_id_str"], record["n_pos"]
            own_id = record["query_id_int"] if own_id is None else own_id
            # Rows without a positive have candidates of which nothing is known.
            keys = record["key"] if n_pos else []
            at = passages.positions(form_hashes(keys))
            text = record["query"]
            yield _Row(
                number=number - 1,
                query_id=ids_of_texts([text])[0] if own_id is None else str(own_id),
                text=text,
                form=normal_form(text),
                instruction=record[QUERY_INSTRUCTION],
                positives=[p for found in at[:n_pos] for p in found.tolist()],
                negatives=[p for found in at[n_pos:] for p in found.tolist()],
            )


def _distinct(blocks: Iterable[Sequence[str]]) -> list[str]:
    """Return the texts with different normal forms, in order of appearance."""
    found: dict[str, str] = {}
    for texts in blocks:
        for text in texts:
            found.setdefault(normal_form(text), text)
    return list(found.values())


def _is_first(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which values have not come before, ``[n]`` bool."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _array(positions: set[int]) -> NDArray[np.int64]:
    return np.array(sorted(positions), np.int64)
