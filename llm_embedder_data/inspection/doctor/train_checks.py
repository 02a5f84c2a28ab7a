"""Checks of training rows: one pass over all texts, then comparisons of fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.hashing import mix
from llm_embedder_data.inspection.doctor.findings import Check, Finding, finding
from llm_embedder_data.inspection.doctor.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.kept_tables import kept_tables
from llm_embedder_data.inspection.doctor.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.text_marks import ShortTexts, begin_instructed
from llm_embedder_data.inspection.doctor.word_runs import SearchedRuns
from llm_embedder_data.rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.train_sets import TrainSet

_COLUMNS = ["query", "key", "teacher_scores", "first_same", "n_pos"]


@dataclass(slots=True)
class RowPrints:
    """Fingerprints of a training set's kept rows, and what one pass over their texts shows.

    Attributes:
        rows: ``[n]`` int64, row numbers.
        query: ``[n]`` uint64, of the normalised queries.
        key: ``[m]`` uint64, of the normalised candidates of all rows, end to end.
        bounds: ``[n+1]`` int64, where each row's candidates begin.
        n_pos: ``[n]`` int64; the positives come first.
        row: ``[n]`` uint64, of the whole rows as they are.
        is_short: ``[n]`` bool.
        has_instruction: ``[n]`` bool.
        is_scored_above: ``[n]`` bool.
        shares_run: ``[n]`` bool, whether the query or a positive holds a searched run of words.
    """

    rows: NDArray[np.int64]
    query: NDArray[np.uint64]
    key: NDArray[np.uint64]
    bounds: NDArray[np.int64]
    n_pos: NDArray[np.int64]
    row: NDArray[np.uint64]
    is_short: NDArray[np.bool_]
    has_instruction: NDArray[np.bool_]
    is_scored_above: NDArray[np.bool_]
    shares_run: NDArray[np.bool_]

    @property
    def row_of_key(self) -> NDArray[np.int64]:
        """``[m]`` int64, the place of each candidate's row."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.bounds))

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """``[m]`` bool."""
        row_of_key = self.row_of_key
        place = np.arange(len(self.key)) - self.bounds[row_of_key]
        positive: NDArray[np.bool_] = place < self.n_pos[row_of_key]
        return positive

    def pairs(self, of: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """A fingerprint of (query, candidate) for some candidates."""
        return mix(self.query[self.row_of_key[of]] + mix(self.key[of]))

    def positives(self) -> NDArray[np.uint64]:
        """``[n]`` uint64: a fingerprint of each row's set of positives."""
        of = self.is_positive
        total = np.zeros(len(self.rows), np.uint64)
        np.add.at(total, self.row_of_key[of], mix(self.key[of]))
        return total


def row_prints(
    train_set: TrainSet,
    instruction: Instruction,
    tokenizer: PreTrainedTokenizerBase,
    searched: SearchedRuns | None = None,
) -> RowPrints:
    """Read a training set's kept rows once.

    Args:
        train_set: whose rows are read.
        instruction: in force before its texts.
        tokenizer: says which texts are one token.
        searched: runs of words that are looked for; None looks for none.
    """
    is_short = ShortTexts(tokenizer)
    columns = _COLUMNS + [QUERY_INSTRUCTION, KEY_INSTRUCTION] * (train_set.n_instructed > 0)
    parts = [
        _of_table(rows, table, instruction, is_short, searched)
        for rows, table in kept_tables(train_set, columns)
    ]
    n_keys = np.concatenate([np.diff(part.bounds) for part in parts])
    return RowPrints(
        rows=np.concatenate([part.rows for part in parts]),
        query=np.concatenate([part.query for part in parts]),
        key=np.concatenate([part.key for part in parts]),
        bounds=np.append(0, np.cumsum(n_keys)),
        n_pos=np.concatenate([part.n_pos for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        is_short=np.concatenate([part.is_short for part in parts]),
        has_instruction=np.concatenate([part.has_instruction for part in parts]),
        is_scored_above=np.concatenate([part.is_scored_above for part in parts]),
        shares_run=np.concatenate([part.shares_run for part in parts]),
    )


def check_rows(
    train_sets: Mapping[str, TrainSet], prints: Mapping[str, RowPrints]
) -> dict[str, dict[Check, Finding]]:
    """The findings of each training set, by check; sets are compared with each other too."""
    false, repeated = false_negatives(prints), repeated_rows(prints)
    ambiguous = _ambiguous_queries(prints)
    found: dict[str, dict[Check, Finding]] = {}
    for name, one in prints.items():
        has_false = np.zeros(len(one.rows), bool)
        has_false[one.row_of_key[false[name]]] = True
        rows: dict[Check, NDArray[np.bool_]] = {
            "positive_among_negatives": has_false,
            "duplicate_rows": repeated[name],
            "duplicate_queries": ambiguous[name],
            "short_texts": one.is_short,
            "scores_above_positive": one.is_scored_above,
            "instruction_in_text": one.has_instruction,
        }
        found[name] = {
            check: finding(train_sets[name], one.rows[chosen]) for check, chosen in rows.items()
        }
    return found


def false_negatives(prints: Mapping[str, RowPrints]) -> dict[str, NDArray[np.bool_]]:
    """``[m]`` bool by set: negatives that are positives of the same query in some row."""
    known = np.unique(_joined([one.pairs(one.is_positive) for one in prints.values()]))
    found = {}
    for name, one in prints.items():
        false = ~one.is_positive
        false[false] = _within(one.pairs(false), known)
        found[name] = false
    return found


def repeated_rows(prints: Mapping[str, RowPrints]) -> dict[str, NDArray[np.bool_]]:
    """``[n]`` bool by set: rows that are equal to an earlier row, of any set."""
    values = _joined([one.row for one in prints.values()])
    _, first = np.unique(values, return_index=True)
    is_repeat = np.ones(len(values), bool)
    is_repeat[first] = False
    return _by_set(is_repeat, prints)


# --------------------------------------------------------------------------------------------------


def _of_table(
    rows: NDArray[np.int64],
    table: pa.Table,
    instruction: Instruction,
    is_short: ShortTexts,
    searched: SearchedRuns | None,
) -> RowPrints:
    queries = FlatTexts.of_column(table.column("query"))
    keys = FlatTexts.of_lists(table.column("key"))
    candidates = candidates_of(table)
    bounds = np.append(candidates.starts, candidates.starts[-1:] + candidates.n_keys[-1:])
    row_of_key = np.repeat(np.arange(len(rows)), candidates.n_keys)
    place = np.arange(len(keys)) - bounds[row_of_key]
    is_positive = place < candidates.n_pos[row_of_key]

    whole = queries.fingerprints()
    query_instructions = _in_force(table, QUERY_INSTRUCTION, instruction.query)
    key_instructions = _in_force(table, KEY_INSTRUCTION, instruction.key)
    if QUERY_INSTRUCTION in table.column_names:
        whole = mix(whole + FlatTexts.of(query_instructions).fingerprints())
        whole = mix(whole + FlatTexts.of(key_instructions).fingerprints())
    own = mix(keys.fingerprints() + place.astype(np.uint64) * np.uint64(2) + is_positive)
    np.add.at(whole, row_of_key, own)
    normal_queries, normal_keys = normal_texts(queries), normal_texts(keys)
    shares_run = np.zeros(len(rows), bool)
    if searched is not None:
        positives = searched.within(normal_keys.chosen(is_positive))
        shares_run = searched.within(normal_queries)
        shares_run[row_of_key[is_positive][positives]] = True
    return RowPrints(
        rows=np.asarray(rows),
        query=normal_queries.fingerprints(),
        key=normal_keys.fingerprints(),
        bounds=bounds,
        n_pos=candidates.n_pos,
        row=mix(whole),
        is_short=_any_row(is_short(queries), row_of_key, is_short(keys)),
        has_instruction=_any_row(
            begin_instructed(queries, query_instructions, np.arange(len(rows))),
            row_of_key,
            begin_instructed(keys, key_instructions, row_of_key),
        ),
        is_scored_above=_scored_above(candidates.scores, row_of_key, is_positive, len(rows)),
        shares_run=shares_run,
    )


def _in_force(table: pa.Table, column: str, common: str) -> list[str]:
    """Return each row's instruction: its own, or the one that all others have."""
    if column not in table.column_names:
        return [common] * len(table)
    return [common if own is None else own for own in table.column(column).to_pylist()]


def _any_row(
    queries: NDArray[np.bool_], row_of_key: NDArray[np.int64], keys: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """``[n]`` bool: whether a row's query or one of its candidates is marked."""
    marked = queries.copy()
    marked[row_of_key[keys]] = True
    return marked


def _scored_above(
    scores: NDArray[np.float64],
    row_of_key: NDArray[np.int64],
    is_positive: NDArray[np.bool_],
    n_rows: int,
) -> NDArray[np.bool_]:
    lowest, highest = np.full(n_rows, np.inf), np.full(n_rows, -np.inf)
    scored = ~np.isnan(scores)
    np.minimum.at(lowest, row_of_key[scored & is_positive], scores[scored & is_positive])
    np.maximum.at(highest, row_of_key[scored & ~is_positive], scores[scored & ~is_positive])
    above: NDArray[np.bool_] = np.isfinite(lowest) & (highest > lowest)
    return above


def _within(values: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each value is among some ascending ones."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    within: NDArray[np.bool_] = ascending[at] == values
    return within


def _ambiguous_queries(prints: Mapping[str, RowPrints]) -> dict[str, NDArray[np.bool_]]:
    """``[n]`` bool by set: rows whose query has other positives in another row."""
    queries = _joined([one.query for one in prints.values()])
    positives = _joined([one.positives() for one in prints.values()])
    order = np.lexsort((positives, queries))
    same_query = queries[order][1:] == queries[order][:-1]
    other_positives = positives[order][1:] != positives[order][:-1]
    ambiguous = np.unique(queries[order][1:][same_query & other_positives])
    return _by_set(_within(queries, ambiguous), prints)


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _by_set(
    values: NDArray[np.bool_], prints: Mapping[str, RowPrints]
) -> dict[str, NDArray[np.bool_]]:
    ends = np.cumsum([len(one.rows) for one in prints.values()])
    return dict(zip(prints, np.split(values, ends[:-1]), strict=True))
