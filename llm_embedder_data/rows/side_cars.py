"""Negatives and scores that lie in files of their own, joined to training rows.

Negatives, and scores of (query id, document id), are joined by ids; scores of whole rows by the
texts of the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from llm_embedder_data.rows.canonical_rows import BadRowError, Row
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.row_scores import RowScores, keys_of

# Documents of each query with their scores, the best first; None where a file has no scores.
Run = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, slots=True)
class GivenScores:
    """Teacher scores of either kind.

    Attributes:
        run: by query id and document id.
        rows: of whole rows.
        name: of the files of ``rows``, for messages.
    """

    run: Run
    rows: RowScores = field(default_factory=RowScores)
    name: str = ""


class SideCars:
    """Mined negatives and teacher scores for training rows.

    Args:
        negatives: makes the negatives of each query; None where none are given.
        scores: makes the scores; None where none are given.
        documents: makes the texts of the corpus by id.
    """

    def __init__(
        self,
        negatives: Callable[[], Run] | None,
        scores: Callable[[], GivenScores] | None,
        documents: Callable[[], Mapping[str, str]],
    ) -> None:
        self._make_negatives, self._make_scores = negatives, scores
        self._make_documents = documents

    def join(self, row: Row, parts: Parts) -> Row:
        """A row with what the files say of it; what cannot be joined is counted.

        Negatives come behind the row's own, without its positives. Scores are the row's only
        where each of its candidates has one.

        Args:
            row: canonical.
            parts: what the row was read from, where counts and errors go.

        Raises:
            DataError: a file of row scores has none for the row's texts, and bad rows are errors.
        """
        query_id, counts = row.get("query_id"), parts.counts
        has_row_scores = bool(self._scores.rows)
        if query_id is None and (self._make_negatives or not has_row_scores):
            counts["rows without query id, to which no side-car is joined"] += 1
        if query_id is not None and self._make_negatives is not None:
            row = self._with_negatives(row, str(query_id), counts)
        if has_row_scores:
            return self._with_row_scores(row, parts)
        if query_id is not None and self._make_scores is not None:
            row = self._with_scores(row, str(query_id), counts)
        return row

    @cached_property
    def _negatives(self) -> Run:
        return self._make_negatives() if self._make_negatives else {}

    @cached_property
    def _scores(self) -> GivenScores:
        return self._make_scores() if self._make_scores else GivenScores({})

    @cached_property
    def _documents(self) -> Mapping[str, str]:
        return self._make_documents()

    @cached_property
    def _ids_of_text(self) -> Mapping[str, list[str]]:
        ids: dict[str, list[str]] = {}
        for document, text in self._documents.items():
            ids.setdefault(text, []).append(document)
        return ids

    def _with_negatives(self, row: Row, query_id: str, counts: Counter[str]) -> Row:
        known = {*row["pos"], *row["neg"]}
        added: dict[str, None] = {}
        for document in self._negatives.get(query_id, ()):
            text = self._documents.get(document)
            if text is None:
                counts["mined negatives that the corpus does not have"] += 1
            elif text not in known:
                added[text] = None
        if not added:
            return row
        if row["teacher_scores"] is not None and self._make_scores is None:
            counts["rows whose scores do not cover the added negatives, and were dropped"] += 1
        return {**row, "neg": [*row["neg"], *added], "teacher_scores": None}

    def _with_row_scores(self, row: Row, parts: Parts) -> Row:
        try:
            scores = self._scores.rows.of(row)
        except BadRowError as error:
            if not parts.skips_bad_rows:
                raise parts.error(
                    f"the scores in {self._scores.name} are not this row's: {error} (score these "
                    "rows; data.on_bad_row=skip leaves the row without scores)"
                ) from error
            scores = None
        if scores is None:
            parts.counts["rows without scores in the file of scores"] += 1
        return {**row, "teacher_scores": scores}

    def _with_scores(self, row: Row, query_id: str, counts: Counter[str]) -> Row:
        of_query = self._scores.run.get(query_id, {})
        scores = []
        for text in keys_of(row):
            ids = self._ids_of_text.get(text, ())
            found = next((of_query[one] for one in ids if of_query.get(one) is not None), None)
            if found is None:
                counts["rows of which not every candidate has a score"] += 1
                return row
            scores.append(float(found))
        return {**row, "teacher_scores": scores}
