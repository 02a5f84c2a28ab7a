"""The input of mining: the rows of a dataset, and their queries with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.core.normal_form import form_hashes, normal_form
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.known_positives import PositivesWithoutIds, positives_by_id
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts
from llm_embedder_data.rows.source_rows.row_instructions import QUERY_INSTRUCTION
from llm_embedder_data.rows.source_rows.row_tables import RowTables

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
        positive_ids: the ids that the rows give their positives, as a table of
            :data:`~llm_embedder_data.rows.positive_ids.POSITIVE_IDS`; None if they give none.
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
    positive_ids: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class MinedQueries:
    """The distinct queries of some rows, by their ids. Each list has an entry for each query.

    Attributes:
        texts: the queries with their ids and instructions.
        known: positions of the passages that have the text or the id of a positive in any row with
            the same query text, whether the row is trained on or not. They are never mined.
        known_by_id: the part of ``known`` that has the id of a positive, but another text.
        positives: positions of the positives in the rows with the query's id.
        row_negatives: positions of the negatives that these rows already have.
        answers: strings that a mined negative must not contain.
        n_other_texts: rows whose query id an earlier row gave to another query text. They count as
            rows of the earlier query.
        not_compared: counts of positives that could not be compared with the passages by id, by a
            description for users.
    """

    texts: ListedTexts
    known: list[NDArray[np.int64]]
    known_by_id: list[NDArray[np.int64]]
    positives: list[NDArray[np.int64]]
    row_negatives: list[NDArray[np.int64]]
    answers: list[Sequence[str]]
    n_other_texts: int
    not_compared: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.known)


def queries_of(data: MiningData, passages: MinablePassages) -> MinedQueries:
    """Return the distinct queries of the rows ``data.numbers``."""
    wanted = np.zeros(len(data.rows), bool)
    wanted[data.numbers] = True
    known: dict[str, set[int]] = {}
    without_ids = PositivesWithoutIds()
    entries: dict[str, _Query] = {}
    n_other_texts = 0
    for row in _rows(data.rows, passages):
        known.setdefault(row.form, set()).update(row.positives)
        if data.positive_ids is None:
            without_ids.add(row.form, row.positive_forms)
        if not wanted[row.number]:
            continue
        entry = entries.setdefault(row.query_id, _Query(row.text, row.form, row.instruction))
        n_other_texts += entry.form != row.form
        entry.forms.add(row.form)
        entry.positives.update(row.positives)
        entry.row_negatives.update(row.negatives)
    ids, found = list(entries), list(entries.values())
    forms = list({form: None for entry in found for form in entry.forms})
    table = without_ids.table() if data.positive_ids is None else data.positive_ids
    by_id, not_compared = positives_by_id(table, forms, passages)
    by_text = [set().union(*(known[form] for form in entry.forms)) for entry in found]
    by_id_alone = [
        set().union(*(by_id.get(form, ()) for form in entry.forms)) - of_text
        for entry, of_text in zip(found, by_text, strict=True)
    ]
    instructions = [entry.instruction for entry in found]
    return MinedQueries(
        texts=ListedTexts(
            [entry.text for entry in found],
            ids,
            own_instructions=instructions if any(instructions) else None,
            name=f"queries of {data.name}",
        ),
        known=[_array(texts | ids) for texts, ids in zip(by_text, by_id_alone, strict=True)],
        known_by_id=[_array(positions) for positions in by_id_alone],
        positives=[_array(entry.positives) for entry in found],
        row_negatives=[_array(entry.row_negatives - entry.positives) for entry in found],
        answers=[
            [answer for form in entry.forms for answer in data.answers.get(form, ())]
            for entry in found
        ],
        n_other_texts=n_other_texts,
        not_compared=not_compared,
    )


# --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Query:
    """A query by its id: text and instruction of its first row, and what all its rows label.

    ``forms`` are the normal forms of the query's texts: rows with one id may have several texts.
    """

    text: str
    form: str
    instruction: str | None
    forms: set[str] = field(default_factory=set)
    positives: set[int] = field(default_factory=set)
    row_negatives: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, with the positions of its positives and negatives among the passages."""

    number: int
    query_id: str
    text: str
    form: str
    instruction: str | None
    positives: list[int]
    negatives: list[int]
    positive_forms: NDArray[np.uint64]


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
            forms = form_hashes(keys)
            of_keys = passages.positions(forms)
            text = record["query"]
            yield _Row(
                number=number - 1,
                query_id=ids_of_texts([text])[0] if query_id is None else str(query_id),
                text=text,
                form=normal_form(text),
                instruction=record[QUERY_INSTRUCTION],
                positives=[p for found in of_keys[:n_pos] for p in found.tolist()],
                negatives=[p for found in of_keys[n_pos:] for p in found.tolist()],
                positive_forms=forms[:n_pos],
            )


def _array(positions: set[int]) -> NDArray[np.int64]:
    return np.array(sorted(positions), np.int64)
