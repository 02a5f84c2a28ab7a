"""Negatives and scores that lie in files of their own, joined to training rows.

Negatives, and scores of (query id, document id), are joined by ids; scores of whole rows by the
texts of the rows.
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

# Documents of each query with their scores, the best first; None where a file has no scores.
Run = Mapping[str, Mapping[str, float | None]]

# The positives that all rows of a query have, by their normal form, by the query's normal form.
Positives = Mapping[str, Mapping[str, str]]


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


class Joining(Protocol):
    """Where counts and errors go while rows are joined."""

    counts: Counter[str]
    skips_bad_rows: bool

    def error(self, sentence: str) -> DataError:
        """Return an error at the row that is being joined."""


class SideCars:
    """Mined negatives and teacher scores for training rows.

    A query is known by its row's id. A row without an id is known by
    :func:`~llm_embedder_data.rows.side_cars.stand_in_ids.ids_of_texts` of its query, else by its
    number.

    Args:
        negatives: makes the negatives of each query; None where none are given.
        scores: makes the scores; None where none are given.
        documents: gives the texts of documents by id, at least of those that are asked for and
            that there are.
        beside: makes the scores beside the negatives, of candidates that the rows have already; an
            infinite one marks a document that the miner took for a positive. None for none.
        positives: of all rows of a query; None if only the row's own are known.
        keeps_mined_scores: whether the scores in the file of negatives become the row's, where it
            has one for each candidate. They are there to judge negatives by.
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
        self._met: set[str] = set()  # names of files that had a line for a row
        self._id_of_a_row: str | None = None

    def join(self, row: Row, number: int, joining: Joining) -> Row:
        """A row with what the files say of it; what cannot be joined is counted.

        Negatives come behind the row's own, without the positives of its query: those of the row,
        those of all rows of the same query, by normalised text, and those that the miner took for
        positives. Scores are the row's only where each of its candidates has one.

        Args:
            row: canonical.
            number: of the row.
            joining: where counts and errors go.

        Returns:
            the row, and as ``known`` the texts that are positives of its query and none of its
            candidates.

        Raises:
            DataError: a file of row scores has none for the row's texts, and bad rows are errors.
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
        """Refuse files of which no line is for any of the rows that were joined.

        Args:
            where: the rows' source, for the message.

        Raises:
            DataError: naming an id of each side.
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
        """Get the documents of some rows at once: the next calls of :meth:`join` are for them.

        Args:
            rows: each with its number.
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
        own_id = row["query_id"]
        self._id_of_a_row = str(number if own_id is None else own_id)
        if own_id is not None:
            return run.get(str(own_id))
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
    """Return the score of each text; None if one has none."""
    scores = []
    for text in texts:
        score = score_of.get(normal_form(text))
        if score is None:
            return None
        scores.append(float(score))
    return scores
