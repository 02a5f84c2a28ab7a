"""Lengths in tokens, and positives that are cut off, from a sample of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.hashing import hash_rows, stream_seed
from llm_embedder_data.inspection.doctor.checks.cut_answers import Positive, cut_positives
from llm_embedder_data.inspection.doctor.checks.row_fingerprints import in_force
from llm_embedder_data.inspection.doctor.results.findings import MOST_EXAMPLES, Finding, finding
from llm_embedder_data.rows.source_rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.train_set import TrainSet

# The most rows of a training set that are tokenized, and the most negatives of each.
SAMPLED_ROWS = 1000
_SAMPLED_NEGATIVES = 4
_PERCENTILES = (50, 95, 99, 100)


def check_tokens(
    train_set: TrainSet,
    instruction: Instruction,
    tokenizer: PreTrainedTokenizerBase,
    *,
    query_max_length: int,
    key_max_length: int,
    answers: Mapping[str, Sequence[str]],
) -> tuple[Finding, dict[str, Any]]:
    """Tokenize a sample of a training set's rows.

    Args:
        train_set: the training set to check.
        instruction: the instruction of rows that have no instruction.
        tokenizer: the encoder's tokenizer.
        query_max_length: the most tokens of a query, instruction and special tokens included.
        key_max_length: the most tokens of a key, instruction and special tokens included.
        answers: the answers to each query, by the query's normal form; empty if the data has none.

    Returns:
        A finding of the rows with a positive that is cut off, and two entries of the report:

        - ``lengths``: statistics of the lengths in tokens of ``query`` and ``key``, the number of
          ``sampled_rows``, and the mean number of ``candidates_per_row``
        - ``cut``: the result of :func:`cut_positives`
    """
    rows = sampled(train_set)
    columns = ["query", "key", "n_pos"]
    if train_set.n_instructed:
        columns += [QUERY_INSTRUCTION, KEY_INSTRUCTION]
    table = train_set.tables(columns).columns(rows.tolist())
    no_instructions = [None] * len(rows)
    query_instructions = in_force(table.get(QUERY_INSTRUCTION, no_instructions), instruction.query)
    key_instructions = in_force(table.get(KEY_INSTRUCTION, no_instructions), instruction.key)
    query_lengths = _lengths(tokenizer, query_instructions, table["query"])
    keys: list[str] = []
    row_of_key: list[int] = []  # as an index into rows
    marks: list[bool] = []
    for row, (candidates, n_pos) in enumerate(zip(table["key"], table["n_pos"], strict=True)):
        looked_at = candidates[: max(n_pos, 1)] + candidates[n_pos:][:_SAMPLED_NEGATIVES]
        keys += looked_at
        row_of_key += [row] * len(looked_at)
        marks += [number < n_pos for number in range(len(looked_at))]
    key_lengths = _lengths(tokenizer, [key_instructions[row] for row in row_of_key], keys)
    is_positive = np.array(marks, bool)
    is_cut = (key_lengths > key_max_length) & is_positive
    cut_rows = np.unique(np.array(row_of_key, np.int64)[is_cut])
    positives = [
        Positive(
            int(rows[row]), table["query"][row], key_instructions[row], keys[key], bool(is_cut[key])
        )
        for key in np.flatnonzero(is_positive).tolist()
        for row in [row_of_key[key]]
    ]
    n_keys = np.array([len(candidates) for candidates in table["key"]], np.int64)
    found = finding(
        train_set,
        rows[cut_rows],
        [table["key"][row][0] for row in cut_rows[:MOST_EXAMPLES]],
        looked_at=len(rows) if len(rows) < len(train_set.kept) else None,
    )
    lengths = {
        "sampled_rows": len(rows),
        "query": _summary(query_lengths, query_max_length),
        "key": _summary(key_lengths, key_max_length),
        "candidates_per_row": float(n_keys.mean()),
    }
    cut = cut_positives(train_set, positives, answers, tokenizer, key_max_length)
    return found, {"lengths": lengths, "cut": cut}


def sampled(train_set: TrainSet) -> NDArray[np.int64]:
    """Return the row numbers of a sample, ascending; the same data always gives the same sample."""
    kept = np.asarray(train_set.kept)
    if len(kept) <= SAMPLED_ROWS:
        return kept
    hashes = hash_rows(stream_seed("doctor's sample", train_set.name), kept)
    return np.sort(kept[np.argpartition(hashes, SAMPLED_ROWS)[:SAMPLED_ROWS]])


def _lengths(
    tokenizer: PreTrainedTokenizerBase, instructions: Sequence[str], texts: Sequence[str]
) -> NDArray[np.int64]:
    """Return the number of tokens of each text with its instruction, ``[n]`` int64."""
    if not texts:
        return np.zeros(0, np.int64)
    limit = tokenizer.model_max_length
    tokenizer.model_max_length = int(1e30)  # so that transformers does not warn of long texts
    try:
        instructed = [before + text for before, text in zip(instructions, texts, strict=True)]
        ids = tokenizer(instructed, return_attention_mask=False)
    finally:
        tokenizer.model_max_length = limit
    return np.array([len(tokens) for tokens in ids["input_ids"]], np.int64)


def _summary(lengths: NDArray[np.int64], limit: int) -> Mapping[str, Any]:
    if not len(lengths):
        return {}
    values = np.percentile(lengths, _PERCENTILES, method="higher").tolist()
    names = [f"p{percent}" if percent < 100 else "max" for percent in _PERCENTILES]
    return dict(zip(names, values, strict=True)) | {
        "mean": float(np.minimum(lengths, limit).mean()),  # after truncation
        "truncated": float((lengths > limit).mean()),
        "max_length": limit,
    }
