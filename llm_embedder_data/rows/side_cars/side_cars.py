"""Joins negatives and teacher scores, which are in separate files, to training rows.

Negatives, and scores of (query id, document id), are joined by ids. Scores of whole rows are joined
by the texts of the rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Row
from llm_embedder_data.rows.side_cars.row_scores import RowScores, keys_of
from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts

# {query id: {document id: score}}, best document first. A score is None if the file has no scores.
Run = Mapping[str, Mapping[str, float | None]]

# {query: {positive: its text}} of all rows. Queries and positives are in normal form.
Positives = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class GivenScores:
    """Teacher scores of both kinds.

    Attributes:
        run: scores by query id and document id.
        rows: scores of whole rows.
        name: the names of the files of ``rows``, for messages.
    """

    run: Run
    rows: RowScores = field(default_factory=RowScores)
    name: str = ""


class Joining(Protocol):
    """Where rows are read from: takes counts and errors while rows are joined.

    Attributes:
        counts: numbers of rows and documents, by sentence.
        skips_bad_rows: whether bad rows are skipped, instead of being errors.
    """

    counts: Counter[str]
    skips_bad_rows: bool

    def error(self, sentence: str) -> DataError:
        """Return an error at the row that is being joined."""


class SideCars:
    """Mined negatives and teacher scores for training rows.

    The files refer to a query by its row's id. If the row has no id, they use
    :func:`~llm_embedder_data.rows.side_cars.stand_in_ids.ids_of_texts` of its query, or its number.

    Args:
        negatives: returns the negatives of each query; called once. None if there are none.
        scores: returns the teacher scores; called once. None if there are none.
        documents: returns the texts of documents by id. It must return those that are asked for and
            exist, and may return more.
        beside: returns the scores beside the negatives, of candidates that the rows had before
            mining; called once. The score inf marks a document that the miner took for a positive.
            None if there are none.
        positives: the positives of all rows of a query; None if only each row's positives are
            known.
        keeps_mined_scores: whether the scores in the file of negatives become teacher scores of the
            row, if each candidate has a score. Filters of negatives use them.
    """

    def __init__(
        self,
        negatives: Callable[[], Run] | None,
        scores: Callable[[], GivenScores] | None,
        documents: Callable[[Iterable[str]], Mapping[str, str]],
        *,
        beside: Callable[[], Run] | None = None,
        positives: Positives | None = None,
        keeps_mined_scores: bool = False,
    ) -> None:
        self._make_negatives, self._make_scores = negatives, scores
        self._make_beside = beside
        self._documents = documents
        self._positives = positives or {}
        self._keeps_mined_scores = keeps_mined_scores
        self._fetched: Mapping[str, str] | None = None
        self._met: set[str] = set()  # the settings whose file had a line for a row
        self._id_of_a_row: str | None = None

    def join(self, row: Row, number: int, joining: Joining) -> Row:
        """Return a row with the negatives and scores of the files; count what cannot be joined.

        New negatives follow those of the row. Positives of the query are left out: the row's
        positives, those of other rows with the same query (texts are compared in normal form), and
        documents that the miner took for positives. A row only gets scores if each of its
        candidates has a score.

        Args:
            row: a canonical training row.
            number: the number of the row.
            joining: takes counts and errors.

        Returns:
            The row. If negatives are joined, ``known`` holds the texts of positives of the query
            that are not among the row's candidates.

        Raises:
            DataError: a file of row scores has no line for the row's texts, and bad rows are
                errors.
        """
        if self._make_negatives is not None:
            row = self._with_negatives(row, number, joining.counts)
        if self._scores.rows:
            return self._with_row_scores(row, joining)
        if self._make_scores is not None:
            found = self._of_query(self._scores.run, row, number)
            if found is not None:
                self._met.add("scores")
            row = self._with_scores(row, found, joining.counts)
        return row

    def check_met(self, where: str) -> None:
        """Check that each file has a line for one of the joined rows.

        Args:
            where: the source of the rows, for the message.

        Raises:
            DataError: a file has none. The message has an id of the file and an id of the rows.
        """
        if self._id_of_a_row is None:
            return
        for name, run in (("negatives", self._negatives), ("scores", self._scores.run)):
            if run and name not in self._met:
                raise DataError.at(
                    where,
                    f"none of its queries is in the file of {name}: the rows have ids such as "
                    f"{self._id_of_a_row!r}, the file such as {next(iter(run))!r} (give the file "
                    "that was made of these rows)",
                )

    def fetch(self, rows: Iterable[tuple[Row, int]]) -> None:
        """Look up the documents of some rows at once, before :meth:`join` is called for them.

        Args:
            rows: (canonical row, its number).
        """
        self._fetched = self._documents(
            {
                document
                for row, number in rows
                for run in (self._negatives, self._beside, self._scores.run)
                for document in self._of_query(run, row, number) or ()
            }
        )

    @cached_property
    def _negatives(self) -> Run:
        return self._make_negatives() if self._make_negatives else {}

    @cached_property
    def _beside(self) -> Run:
        return self._make_beside() if self._make_beside else {}

    @cached_property
    def _scores(self) -> GivenScores:
        return self._make_scores() if self._make_scores else GivenScores({})

    def _of_query(self, run: Run, row: Row, number: int) -> Mapping[str, float | None] | None:
        query_id = row["query_id"]
        self._id_of_a_row = str(number if query_id is None else query_id)
        if query_id is not None:
            return run.get(str(query_id))
        return run.get(ids_of_texts([row["query"]])[0], run.get(str(number)))

    def _texts(self, documents: Iterable[str]) -> Mapping[str, str]:
        return self._documents(documents) if self._fetched is None else self._fetched

    def _with_negatives(self, row: Row, number: int, counts: Counter[str]) -> Row:
        if row["teacher_scores"] is not None and self._make_scores is None:
            counts["rows whose teacher scores are set aside, as negatives are joined"] += 1
        row = {**row, "teacher_scores": None, "known": []}
        found = self._of_query(self._negatives, row, number)
        if found is not None:
            self._met.add("negatives")
        beside = self._of_query(self._beside, row, number) or {}
        if found is None and not beside:
            counts["rows whose query has no line in the file of negatives"] += 1
            return row
        if not row["pos"]:
            counts["rows without a labelled positive, to which no negatives are joined"] += 1
            return row
        found = found or {}
        texts = self._texts({*found, *beside})
        positives = {normal_form(text) for text in row["pos"]}
        of_others = self._positives.get(normal_form(row["query"]), {})
        known = {form: text for form, text in of_others.items() if form not in positives}
        score_of: dict[str, float | None] = {}
        for document, score in beside.items():
            if (text := texts.get(document)) is not None:
                if score == math.inf:
                    known.setdefault(normal_form(text), text)
                else:
                    score_of.setdefault(normal_form(text), score)
        taken = {*positives, *known, *(normal_form(text) for text in row["neg"])}
        added: list[str] = []
        for document, score in found.items():
            text = texts.get(document)
            if text is None:
                counts["mined negatives that the corpus does not have"] += 1
                continue
            form = normal_form(text)
            score_of.setdefault(form, score)
            if form not in taken:
                taken.add(form)
                added.append(text)
        for form in positives:
            known.pop(form, None)
        row = {**row, "neg": [*row["neg"], *added], "known": list(known.values())}
        if self._keeps_mined_scores and self._make_scores is None:
            row["teacher_scores"] = _all_of([*row["pos"], *row["neg"]], score_of)
            if row["teacher_scores"] is None:
                counts["rows without mined scores, as not every candidate has one"] += 1
        return row

    def _with_row_scores(self, row: Row, joining: Joining) -> Row:
        try:
            scores = self._scores.rows.of(row)
        except BadRowError as error:
            if not joining.skips_bad_rows:
                raise joining.error(
                    f"the scores in {self._scores.name} are not this row's: {error} (score these "
                    "rows; data.on_bad_row=skip leaves the row without scores)"
                ) from error
            scores = None
        if scores is None:
            joining.counts["rows without scores in the file of scores"] += 1
        return {**row, "teacher_scores": scores}

    def _with_scores(
        self, row: Row, found: Mapping[str, float | None] | None, counts: Counter[str]
    ) -> Row:
        score_of: dict[str, float | None] = {}
        texts = self._texts(found or ())
        for document, score in (found or {}).items():
            if score is not None and score < math.inf and document in texts:
                score_of.setdefault(normal_form(texts[document]), score)
        scores = _all_of(keys_of(row), score_of)
        if scores is None:
            counts["rows of which not every candidate has a score"] += 1
            return row
        return {**row, "teacher_scores": scores}


def _all_of(texts: Iterable[str], score_of: Mapping[str, float | None]) -> list[float] | None:
    """Return the score of each text; None if any text has no score."""
    scores = []
    for text in texts:
        score = score_of.get(normal_form(text))
        if score is None:
            return None
        scores.append(float(score))
    return scores
