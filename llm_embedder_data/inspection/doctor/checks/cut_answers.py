"""Counts positives that are longer than ``key_max_length``, and answers that are cut off there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.core.answer_strings import holds_answer, words_of
from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.inspection.doctor.results.findings import MOST_EXAMPLES, examples_at
from llm_embedder_data.rows.train_set import TrainSet


class Positive(NamedTuple):
    """A positive of a sampled row.

    Attributes:
        row: the row's number in its training set.
        query: the row's query.
        instruction: the text put before the positive.
        text: the positive itself.
        is_cut: whether instruction and positive together have more tokens than the limit.
    """

    row: int
    query: str
    instruction: str
    text: str
    is_cut: bool


def cut_positives(
    train_set: TrainSet,
    positives: Sequence[Positive],
    answers: Mapping[str, Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    key_max_length: int,
) -> dict[str, Any]:
    """Count the positives that are cut off, and those that thereby lose the answer to their query.

    Args:
        train_set: the training set of the positives.
        positives: of sampled rows.
        answers: the answers to each query, by the query's normal form; empty if the data has none.
        tokenizer: the encoder's tokenizer.
        key_max_length: the most tokens of a key, instruction and special tokens included.

    Returns:
        A dict with the entries

        - ``positives``: number of positives
        - ``positives_cut``, ``share_cut``: number and share of the positives that are cut off
        - ``positives_with_answer``: number of positives that contain the words of an answer to
          their query; a positive that is the answer itself does not count
        - ``answers_behind_cut``: number of the latter whose kept part contains no answer
        - ``examples``: the first positives of which that is true
    """
    with_answer = 0
    lost: list[Positive] = []
    for positive in positives:
        given = answers.get(normal_form(positive.query), ()) if answers else ()
        text = words_of(positive.text) if given else []
        words = [answer for answer in map(words_of, given) if answer != text]
        if not words or not holds_answer(positive.text, words):
            continue
        with_answer += 1
        if positive.is_cut and not holds_answer(_kept(positive, tokenizer, key_max_length), words):
            lost.append(positive)
    n_cut = sum(positive.is_cut for positive in positives)
    shown = lost[:MOST_EXAMPLES]
    rows = np.array([positive.row for positive in shown], np.int64)
    examples = examples_at(train_set, rows, [positive.query for positive in shown])
    return {
        "positives": len(positives),
        "positives_cut": n_cut,
        "share_cut": n_cut / len(positives) if positives else 0.0,
        "positives_with_answer": with_answer,
        "answers_behind_cut": len(lost),
        "examples": [asdict(example) for example in examples],
    }


def _kept(positive: Positive, tokenizer: PreTrainedTokenizerBase, limit: int) -> str:
    """Return the part of a positive that is within the limit, without its instruction."""
    instructed = positive.instruction + positive.text
    if not tokenizer.is_fast:
        ids = tokenizer(instructed, truncation=True, max_length=limit)["input_ids"]
        return str(tokenizer.decode(ids, skip_special_tokens=True))
    spans = tokenizer(instructed, truncation=True, max_length=limit, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    start = min((start for start, end in spans if end > start), default=0)
    end = max((end for _, end in spans), default=0)
    return instructed[max(start, len(positive.instruction)) : end]
