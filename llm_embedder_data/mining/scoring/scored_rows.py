"""The rows that a teacher scores: canonical rows with the answers of their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.records.raw_files import RawRecord
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Row, text_of, texts_of
from llm_embedder_data.rows.side_cars.row_scores import digest_of_texts, keys_of


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A query with its keys.

    Attributes:
        query_id: the row's query id; without an id, the row's number among all rows read, from 0.
        query: text of the query.
        keys: texts in the order of the scores: pos then neg, or the candidates.
        task: the row's task, else the source's, else the default.
        instruction: the row's instructions for query and key, which replace the recipe's; or None.
        answers: answer texts; empty if no answers are needed or the record has none.
        context: text before the query; may be empty.
        digest: digest of query and keys.
    """

    query_id: str | int
    query: str
    keys: list[str]
    task: str
    instruction: Mapping[str, str | None] | None
    answers: tuple[str, ...]
    context: str
    digest: str

    @property
    def n_inputs(self) -> int:
        """The number of inputs for the teacher: one per key, or per key and answer."""
        return len(self.keys) * max(len(self.answers), 1)


class RowsToScore:
    """The rows of a source, read anew by each iteration.

    Args:
        source: the rows, as the setting ``data.train_data`` names them.
        needs_answers: whether rows need answers, from the field ``answers`` or ``answer`` of their
            records.
        default_task: task of rows that name no task.
        settings: arguments of :class:`~llm_embedder_data.rows.foreign_rows.row_reader.RowReader`.

    Attributes:
        skips_bad_rows: whether rows that cannot be scored are skipped, not refused.
        report: what was read, in words; complete after an iteration.
    """

    def __init__(
        self,
        source: Any,
        *,
        needs_answers: bool = False,
        default_task: str = "qa",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._source, self._settings = source, dict(settings or {})
        self._needs_answers, self._default_task = needs_answers, default_task
        self.skips_bad_rows = self._settings.get("on_bad_row") == "skip"
        self.report = ""

    def __iter__(self) -> Iterator[ScoredRow]:
        """Read and yield the rows.

        Raises:
            DataError: the data cannot be read; or a row has no answers although they are needed,
                and bad rows are not skipped.
            ConfigError: a setting cannot be used.
        """
        reader = RowReader(self._source, kind="train", **self._settings)
        for number, row in enumerate(reader.rows()):
            yield self._scored(row, number, reader)
        self.report = "\n".join(map(str, reader.report))

    def _scored(self, row: Row, number: int, reader: RowReader) -> ScoredRow:
        answers: tuple[str, ...] = ()
        context = ""
        if self._needs_answers:
            assert reader.at is not None
            path, record = reader.at
            try:
                answers, context = _answers_of(row, record)
            except BadRowError as error:
                if not self.skips_bad_rows:
                    raise DataError.at(
                        path,
                        f"{error} (data.on_bad_row=skip writes no scores for such rows)",
                        row=record.row,
                        line=record.line,
                    ) from error
        keys = keys_of(row)
        return ScoredRow(
            query_id=number if row["query_id"] is None else row["query_id"],
            query=row["query"],
            keys=keys,
            task=row["task"] or self._default_task,
            instruction=row["instruction"],
            answers=answers,
            context=context,
            digest=digest_of_texts(row["query"], keys),
        )


def _answers_of(row: Row, record: RawRecord) -> tuple[tuple[str, ...], str]:
    """Return the answers and the context of a row, from the record that the row was made from.

    Raises:
        BadRowError: the record has no answers, or may belong to another row.
    """
    value = record.value
    if value is None:
        raise BadRowError(
            "a row that is made of several records has no answers: which are its own does not "
            "stand in the record (give files whose records hold query and answers)"
        )
    if not isinstance(value, Mapping):
        raise BadRowError("a record without names of fields has no answers")
    found = value.get("answers") if value.get("answers") is not None else value.get("answer")
    if isinstance(found, Mapping):  # SQuAD's
        found = found.get("text")
    answers = texts_of(found, "answers")
    if not answers:
        raise BadRowError("the row has no answers (the field answers, or answer)")
    if not any(_is_text(part, row["query"]) for part in value.values()):
        # The format joins several records, or reads queries from another file.
        raise BadRowError(
            f"the query {shown(row['query'])} does not stand in the record, so that its answers "
            "may be another row's (give files whose records hold query and answers)"
        )
    context = value.get("context")
    return tuple(answers), text_of(context, "context") if context else ""


def _is_text(value: Any, text: str) -> bool:
    return isinstance(value, str) and value.strip() == text.strip()
