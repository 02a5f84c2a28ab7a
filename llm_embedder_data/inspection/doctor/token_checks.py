"""Lengths in tokens, and what truncation cuts off, from a sample of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.hashing import hash_rows, stream_seed
from llm_embedder_data.inspection.doctor.cut_answers import Positive, cut_positives
from llm_embedder_data.inspection.doctor.findings import Finding, finding
from llm_embedder_data.rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.train_sets import TrainSet

# Rows of a data set that are tokenized, at most; and candidates of each.
SAMPLED_ROWS = 1000
_SAMPLED_KEYS = 4
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
        train_set: whose rows are tokenized.
        instruction: in force before its texts.
        tokenizer: of the encoder.
        query_max_length: in tokens.
        key_max_length: in tokens.
        answers: by the query's normal form; empty where the rows have none.

    Returns:
        the rows with a positive that is cut off; and ``lengths``: for ``query`` and ``key`` the
        percentiles in tokens and the share of texts that are cut off, ``sampled_rows`` and
        ``candidates_per_row``; and ``cut``: what :func:`cut_positives` finds.
    """
    rows = sampled(train_set)
    columns = ["query", "key", "n_pos"]
    if train_set.n_instructed:
        columns += [QUERY_INSTRUCTION, KEY_INSTRUCTION]
    table = train_set.tables(columns).columns(rows.tolist())
    query_instructions = _in_force(train_set, table, QUERY_INSTRUCTION, instruction.query)
    key_instructions = _in_force(train_set, table, KEY_INSTRUCTION, instruction.key)
    queries = _lengths(tokenizer, query_instructions, table["query"])
    keys: list[str] = []
    row_of_key, is_positive = [], []
    for number, (candidates, n_pos) in enumerate(zip(table["key"], table["n_pos"], strict=True)):
        own = candidates[: max(n_pos, 1)] + candidates[n_pos:][:_SAMPLED_KEYS]
        keys += own
        row_of_key += [number] * len(own)
        is_positive += [place < n_pos for place in range(len(own))]
    lengths = _lengths(tokenizer, [key_instructions[row] for row in row_of_key], keys)
    positive = np.array(is_positive, bool)
    cut = (lengths > key_max_length) & positive
    cut_rows = np.unique(np.array(row_of_key, np.int64)[cut])
    positives = [
        Positive(
            int(rows[row]), table["query"][row], key_instructions[row], keys[at], bool(cut[at])
        )
        for at in np.flatnonzero(positive).tolist()
        for row in [row_of_key[at]]
    ]
    n_keys = np.array([len(candidates) for candidates in table["key"]], np.int64)
    found = finding(
        train_set,
        rows[cut_rows],
        [table["key"][row][0] for row in cut_rows[:5]],
        looked_at=len(rows) if len(rows) < len(train_set.kept) else None,
    )
    of_lengths = {
        "sampled_rows": len(rows),
        "query": _summary(queries, query_max_length),
        "key": _summary(lengths, key_max_length),
        "candidates_per_row": float(n_keys.mean()),
    }
    cut_off = cut_positives(train_set, positives, answers, tokenizer, key_max_length)
    return found, {"lengths": of_lengths, "cut": cut_off}


def sampled(train_set: TrainSet) -> NDArray[np.int64]:
    """Row numbers of a sample, ascending; the same for the same data set."""
    kept = np.asarray(train_set.kept)
    if len(kept) <= SAMPLED_ROWS:
        return kept
    words = hash_rows(stream_seed("doctor's sample", train_set.name), kept)
    return np.sort(kept[np.argpartition(words, SAMPLED_ROWS)[:SAMPLED_ROWS]])


def _in_force(train_set: TrainSet, table: Mapping[str, Any], column: str, common: str) -> list[str]:
    """Return each row's instruction: its own, or the one that all others have."""
    if not train_set.n_instructed:
        return [common] * len(table["query"])
    return [common if own is None else own for own in table[column]]


def _lengths(
    tokenizer: PreTrainedTokenizerBase, instructions: Sequence[str], texts: Sequence[str]
) -> NDArray[np.int64]:
    if not texts:
        return np.zeros(0, np.int64)
    limit = tokenizer.model_max_length
    tokenizer.model_max_length = int(1e30)  # no warning of long texts, which are looked for here
    try:
        instructed = [before + text for before, text in zip(instructions, texts, strict=True)]
        ids = tokenizer(instructed, return_attention_mask=False)
    finally:
        tokenizer.model_max_length = limit
    return np.array([len(one) for one in ids["input_ids"]], np.int64)


def _summary(lengths: NDArray[np.int64], limit: int) -> Mapping[str, Any]:
    if not len(lengths):
        return {}
    values = np.percentile(lengths, _PERCENTILES, method="higher").tolist()
    names = [f"p{one}" if one < 100 else "max" for one in _PERCENTILES]
    return dict(zip(names, values, strict=True)) | {
        "mean": float(np.minimum(lengths, limit).mean()),
        "truncated": float((lengths > limit).mean()),
        "max_length": limit,
    }
