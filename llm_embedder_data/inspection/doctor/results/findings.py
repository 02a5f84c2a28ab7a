"""Findings of a check: the number of rows, and examples with their file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.printable import beginning, printable
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet

# Checks that run only if ``near_duplicates`` is set.
NearCheck = Literal["near_contamination", "near_duplicate_rows"]

Check = Literal[
    "positive_among_negatives",
    "contamination",
    "duplicate_rows",
    "duplicate_queries",
    "duplicate_passages",
    "short_texts",
    "scores_above_positive",
    "instruction_in_text",
    "truncated_positives",
    "unread_columns",
    "never_sampled",
    "below_global_batch",
    "expected_collisions",
    NearCheck,
]

# What each check counts, as the report prints it after the number.
MEANING: dict[Check, str] = {
    "positive_among_negatives": "rows with a negative that is a positive of the same query",
    "contamination": "training rows that hold the text of an eval query",
    "duplicate_rows": "rows that repeat an earlier row",
    "duplicate_queries": "rows whose query has other positives elsewhere",
    "duplicate_passages": "passages whose text is in the corpus under another id",
    "short_texts": "rows with a text of one or two characters, or of one token",
    "scores_above_positive": "rows with a negative scored above a positive",
    "instruction_in_text": "rows whose text begins with an instruction",
    "truncated_positives": "rows with a positive that is cut off at key_max_length",
    "unread_columns": "columns that are not read, although their names look like known ones",
    "never_sampled": "rows that no epoch samples",
    "below_global_batch": "rows of a dataset with fewer rows than a global batch",
    "near_contamination": "training rows with a text that is nearly an eval query",
    "near_duplicate_rows": "rows whose query and positives are nearly those of another row",
    "expected_collisions": "keys of a global batch, on average, that answer another row's query",
}

# The most examples that the report shows of a check.
MOST_EXAMPLES = 5
_LONGEST_TEXT = 200  # characters


@dataclass(frozen=True, slots=True)
class Example:
    """A row that a check found.

    Attributes:
        file: path of the row's file.
        line: the row's line, counted from 1; in a file without lines the row's number, from 0;
            None if the example is about the whole file.
        text: the text that is shown for the row, shortened.
        match: the row or eval query that is nearly the same as this row; None for other checks.
        similarity: Jaccard similarity of the row and its match; None without a match.
    """

    file: str
    line: int | None
    text: str
    match: Example | None = None
    similarity: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the example in plain Python; without a match, no ``match`` and ``similarity``."""
        entry: dict[str, Any] = {"file": self.file, "line": self.line, "text": self.text}
        if self.match is not None:
            entry |= {"similarity": self.similarity, "match": self.match.as_dict()}
        return entry


@dataclass(slots=True)
class Finding:
    """What a check found in a dataset.

    Attributes:
        count: number of rows that the check found; a few checks count columns, or give an expected
            number of pairs.
        looked_at: number of rows that the check read; None if it read all.
        examples: the first rows that the check found.
    """

    count: float
    looked_at: int | None = None
    examples: list[Example] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding in plain Python, as the JSON report has it."""
        examples = [example.as_dict() for example in self.examples]
        entry: dict[str, Any] = {"count": self.count, "examples": examples}
        return entry if self.looked_at is None else entry | {"looked_at": self.looked_at}


def finding(
    dataset: TrainSet | EvalSet | Corpus,
    rows: NDArray[np.int64],
    texts: Sequence[str] | None = None,
    *,
    looked_at: int | None = None,
) -> Finding:
    """Return a finding of some rows, with the first of them as examples.

    Args:
        dataset: the dataset of the rows.
        rows: ``[n]`` int64, the row numbers that a check found.
        texts: the texts to show for the first rows; None: their queries.
        looked_at: number of rows that the check read; None if it read all.
    """
    shown = rows[:MOST_EXAMPLES]
    if texts is None and len(shown):
        assert not isinstance(dataset, Corpus)
        texts = dataset.tables(["query"]).columns(shown.tolist())["query"]
    return Finding(len(rows), looked_at, examples_at(dataset, shown, texts or ()))


def examples_at(
    dataset: TrainSet | EvalSet | Corpus, rows: NDArray[np.int64], texts: Sequence[str]
) -> list[Example]:
    """Return an example for each row, with its text, file and line.

    Args:
        dataset: the dataset of the rows.
        rows: ``[n]`` int64, row numbers.
        texts: the text to show for each row.
    """
    return [
        Example(
            at.file,
            at.record if at.line is None else at.line,
            beginning(printable(text), _LONGEST_TEXT),
        )
        for at, text in zip(located(dataset, rows.tolist()), texts, strict=False)
    ]


def count_in_words(found: Mapping[str, Any]) -> str:
    """Return how many rows a check found and, if it read only a sample, of how many.

    >>> count_in_words({"count": 11040, "looked_at": 20000})
    '11,040 of 20,000'
    >>> count_in_words({"count": 1.2357})
    '1.24'
    """
    count = found["count"]
    is_round = count == int(count) or count >= 100
    said = f"{count:,.0f}" if is_round else f"{count:.3g}"
    return f"{said} of {found['looked_at']:,}" if "looked_at" in found else said
