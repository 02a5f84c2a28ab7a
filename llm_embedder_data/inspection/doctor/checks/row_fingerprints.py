"""Reads all texts of a training set once: makes fingerprints, and finds faults of single texts.

A fingerprint is a 64-bit hash. Checks compare fingerprints, so that they need not keep the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.groups.training_groups import candidates_of
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.hashing import mix
from llm_embedder_data.inspection.doctor.checks.text_faults import (
    ShortTexts,
    begin_with_instruction,
)
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.kept_rows import tables_of_rows
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.texts.word_runs import SearchedRuns
from llm_embedder_data.rows.source_rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.train_set import TrainSet

_COLUMNS = ["query", "key", "teacher_scores", "first_same", "n_pos"]


@dataclass(slots=True)
class RowFingerprints:
    """Fingerprints of a training set's n kept rows and their m candidates, and faults of rows.

    Attributes:
        rows: ``[n]`` int64, row numbers in the training set.
        query: ``[n]`` uint64, fingerprints of the queries in normal form.
        key: ``[m]`` uint64, fingerprints of the candidates in normal form, row after row.
        bounds: ``[n+1]`` int64, where each row's candidates begin in ``key``.
        n_pos: ``[n]`` int64, number of positives of each row, which come before its negatives.
        whole_row: ``[n]`` uint64, fingerprints of the whole rows, exactly as they are.
        is_short: ``[n]`` bool, whether a text of the row is short.
        has_instruction: ``[n]`` bool, whether a text of the row begins with an instruction.
        is_scored_above: ``[n]`` bool, whether a negative is scored above a positive.
        shares_run: ``[n]`` bool, whether the query or a positive has a searched run of words.
    """

    rows: NDArray[np.int64]
    query: NDArray[np.uint64]
    key: NDArray[np.uint64]
    bounds: NDArray[np.int64]
    n_pos: NDArray[np.int64]
    whole_row: NDArray[np.uint64]
    is_short: NDArray[np.bool_]
    has_instruction: NDArray[np.bool_]
    is_scored_above: NDArray[np.bool_]
    shares_run: NDArray[np.bool_]

    @property
    def row_of_key(self) -> NDArray[np.int64]:
        """``[m]`` int64, each candidate's row, as an index into ``rows``."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.bounds))

    @property
    def is_positive(self) -> NDArray[np.bool_]:
        """``[m]`` bool, whether each candidate is a positive."""
        row_of_key = self.row_of_key
        number_in_row = np.arange(len(self.key)) - self.bounds[row_of_key]
        positive: NDArray[np.bool_] = number_in_row < self.n_pos[row_of_key]
        return positive

    def pairs(self, is_chosen: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Return a fingerprint of (query, candidate) for each chosen candidate.

        Args:
            is_chosen: ``[m]`` bool.
        """
        return mix(self.query[self.row_of_key[is_chosen]] + mix(self.key[is_chosen]))

    def positives(self) -> NDArray[np.uint64]:
        """Return a fingerprint of each row's set of positives, ``[n]`` uint64."""
        positive = self.is_positive
        sums = np.zeros(len(self.rows), np.uint64)
        np.add.at(sums, self.row_of_key[positive], mix(self.key[positive]))
        return sums


def row_fingerprints(
    train_set: TrainSet,
    instruction: Instruction,
    tokenizer: PreTrainedTokenizerBase,
    searched: SearchedRuns | None = None,
) -> RowFingerprints:
    """Read the kept rows of a training set once.

    Args:
        train_set: the training set to read.
        instruction: the instruction of rows that have no instruction.
        tokenizer: tells which texts are a single token.
        searched: runs of words to search for in queries and positives; None: do not search.
    """
    is_short = ShortTexts(tokenizer)
    columns = _COLUMNS + [QUERY_INSTRUCTION, KEY_INSTRUCTION] * (train_set.n_instructed > 0)
    parts = [
        _of_table(rows, table, instruction, is_short, searched)
        for rows, table in tables_of_rows(train_set, columns)
    ]
    n_keys = np.concatenate([np.diff(part.bounds) for part in parts])
    return RowFingerprints(
        rows=np.concatenate([part.rows for part in parts]),
        query=np.concatenate([part.query for part in parts]),
        key=np.concatenate([part.key for part in parts]),
        bounds=np.append(0, np.cumsum(n_keys)),
        n_pos=np.concatenate([part.n_pos for part in parts]),
        whole_row=np.concatenate([part.whole_row for part in parts]),
        is_short=np.concatenate([part.is_short for part in parts]),
        has_instruction=np.concatenate([part.has_instruction for part in parts]),
        is_scored_above=np.concatenate([part.is_scored_above for part in parts]),
        shares_run=np.concatenate([part.shares_run for part in parts]),
    )


def in_force(instructions: Sequence[str | None], common: str) -> list[str]:
    """Return the instruction of each row; rows that have no instruction get the common one."""
    return [common if instruction is None else instruction for instruction in instructions]


# --------------------------------------------------------------------------------------------------


def _of_table(
    rows: NDArray[np.int64],
    table: pa.Table,
    instruction: Instruction,
    is_short: ShortTexts,
    searched: SearchedRuns | None,
) -> RowFingerprints:
    queries = FlatTexts.of_column(table.column("query"))
    keys = FlatTexts.of_lists(table.column("key"))
    candidates = candidates_of(table)
    bounds = np.append(candidates.starts, candidates.starts[-1:] + candidates.n_keys[-1:])
    row_of_key = np.repeat(np.arange(len(rows)), candidates.n_keys)
    number_in_row = np.arange(len(keys)) - bounds[row_of_key]
    is_positive = number_in_row < candidates.n_pos[row_of_key]

    whole_row = queries.fingerprints()
    query_instructions = _instructions(table, QUERY_INSTRUCTION, instruction.query)
    key_instructions = _instructions(table, KEY_INSTRUCTION, instruction.key)
    if QUERY_INSTRUCTION in table.column_names:
        whole_row = mix(whole_row + FlatTexts.of(query_instructions).fingerprints())
        whole_row = mix(whole_row + FlatTexts.of(key_instructions).fingerprints())
    # Rows differ if their candidates have another order, or if a positive became a negative.
    order_and_side = number_in_row.astype(np.uint64) * np.uint64(2) + is_positive
    np.add.at(whole_row, row_of_key, mix(keys.fingerprints() + order_and_side))
    normal_queries, normal_keys = normal_texts(queries), normal_texts(keys)
    shares_run = np.zeros(len(rows), bool)
    if searched is not None:
        positives = searched.found_in(normal_keys.chosen(is_positive))
        shares_run = searched.found_in(normal_queries)
        shares_run[row_of_key[is_positive][positives]] = True
    return RowFingerprints(
        rows=np.asarray(rows),
        query=normal_queries.fingerprints(),
        key=normal_keys.fingerprints(),
        bounds=bounds,
        n_pos=candidates.n_pos,
        whole_row=mix(whole_row),
        is_short=_any_text(is_short(queries), row_of_key, is_short(keys)),
        has_instruction=_any_text(
            begin_with_instruction(queries, query_instructions, np.arange(len(rows))),
            row_of_key,
            begin_with_instruction(keys, key_instructions, row_of_key),
        ),
        is_scored_above=_scored_above(candidates.scores, row_of_key, is_positive, len(rows)),
        shares_run=shares_run,
    )


def _instructions(table: pa.Table, column: str, common: str) -> list[str]:
    if column not in table.column_names:
        return [common] * len(table)
    return in_force(table.column(column).to_pylist(), common)


def _any_text(
    of_query: NDArray[np.bool_], row_of_key: NDArray[np.int64], of_key: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return whether something holds for the query or a candidate of each row, ``[n]`` bool."""
    found = of_query.copy()
    found[row_of_key[of_key]] = True
    return found


def _scored_above(
    scores: NDArray[np.float64],
    row_of_key: NDArray[np.int64],
    is_positive: NDArray[np.bool_],
    n_rows: int,
) -> NDArray[np.bool_]:
    """Return whether a negative of each row is scored above a positive, ``[n]`` bool.

    Args:
        scores: ``[m]`` float64, teacher scores of the candidates; NaN where there is none.
        row_of_key: ``[m]`` int64, index of each candidate's row.
        is_positive: ``[m]`` bool.
        n_rows: number of rows, n.
    """
    lowest, highest = np.full(n_rows, np.inf), np.full(n_rows, -np.inf)
    scored = ~np.isnan(scores)
    np.minimum.at(lowest, row_of_key[scored & is_positive], scores[scored & is_positive])
    np.maximum.at(highest, row_of_key[scored & ~is_positive], scores[scored & ~is_positive])
    above: NDArray[np.bool_] = np.isfinite(lowest) & (highest > lowest)
    return above
