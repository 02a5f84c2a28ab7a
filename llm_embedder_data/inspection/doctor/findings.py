"""What a check found: how many rows, and examples with their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llm_embedder_data.core.printable import printable
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_sets import TrainSet

# Looked for where ``near_duplicates`` is set.
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

# What each check counts, for the report.
MEANING: dict[Check, str] = {
    "positive_among_negatives": "rows with a negative that is a positive of the same query",
    "contamination": "training rows that hold the text of an eval query",
    "duplicate_rows": "rows that repeat an earlier row",
    "duplicate_queries": "rows whose query has other positives elsewhere",
    "duplicate_passages": "passages whose text stands in the corpus under another id",
    "short_texts": "rows with a text of one or two characters, or of one token",
    "scores_above_positive": "rows with a negative scored above a positive",
    "instruction_in_text": "rows whose text begins with an instruction",
    "truncated_positives": "rows with a positive that is cut off at key_max_length",
    "unread_columns": "columns that look like known ones and are not read",
    "never_sampled": "rows that no epoch samples",
    "below_global_batch": "rows of datasets below a global batch",
    "near_contamination": "training rows with a text that is nearly an eval query",
    "near_duplicate_rows": "rows whose query and positives are nearly those of another row",
    "expected_collisions": "other rows' keys in a global batch that are known positives, expected",
}

# Shown of each check, at most.
MOST_EXAMPLES = 5
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Example:
    """One place of a finding.

    Attributes:
        file: path of the file.
        line: counted from 1; the row's number, from 0, where the file has no lines.
        text: what stands there, shortened.
    """

    file: str
    line: int | None
    text: str


@dataclass(slots=True)
class Finding:
    """What one check found in one dataset.

    Attributes:
        count: rows concerned; columns or expected pairs where the check counts these.
        looked_at: rows that were looked at, where not all were.
        examples: of the first rows.
    """

    count: float
    looked_at: int | None = None
    examples: list[Example] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """In plain Python, as the JSON report has it."""
        entry: dict[str, Any] = {
            "count": self.count,
            "examples": [
                {"file": one.file, "line": one.line, "text": one.text} for one in self.examples
            ],
        }
        return entry if self.looked_at is None else entry | {"looked_at": self.looked_at}


def finding(
    dataset: TrainSet | EvalSet | Corpus,
    rows: NDArray[np.int64],
    texts: Sequence[str] | None = None,
    *,
    looked_at: int | None = None,
) -> Finding:
    """A finding in some rows of a dataset.

    Args:
        dataset: that was looked at.
        rows: ``[n]`` int64, row numbers within the dataset.
        texts: of the first rows, what to show; None: their queries.
        looked_at: rows that were looked at, where not all were.
    """
    shown = rows[:MOST_EXAMPLES]
    if texts is None and len(shown):
        assert not isinstance(dataset, Corpus)
        texts = dataset.tables(["query"]).columns(shown.tolist())["query"]
    return Finding(len(rows), looked_at, examples_at(dataset, shown, texts or ()))


def examples_at(
    dataset: TrainSet | EvalSet | Corpus, rows: NDArray[np.int64], texts: Sequence[str]
) -> list[Example]:
    """Examples of some rows, with what stands there."""
    return [
        Example(at.file, at.record if at.line is None else at.line, shortened(text))
        for at, text in zip(located(dataset, rows.tolist()), texts, strict=False)
    ]


def shortened(text: str) -> str:
    """A text as a report shows it."""
    text = printable(text)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
