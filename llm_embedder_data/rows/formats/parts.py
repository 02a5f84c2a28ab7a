"""What the reader of a format works with: its files, the files they refer to, and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.formats.looked_up_ids import LookedUpIds
from llm_embedder_data.rows.formats.watched_records import WatchedRecord
from llm_embedder_data.rows.passages.passage_files import IdsOfLines, PassageFile
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import LOOKED_AT, RawFile, RawRecord, RecordPlace
from llm_embedder_data.rows.records.rejected_records import note_rejected
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Key, document_id
from llm_embedder_data.rows.schema.identified_texts import with_id
from llm_embedder_data.rows.settings.cache_folder import cache_folder

# The reason under which rows are counted whose scores are not used.
INCOMPLETE_SCORES = "rows without teacher scores, as some candidates have none"
_UNKNOWN = "document ids that the corpus does not have"


# The fields that a record of any format may have, and that its row takes over.
OWN_FIELDS = ("task", "instruction")


class OwnValues(dict[str, Any]):
    """The values of OWN_FIELDS of a query's first record, which is otherwise forgotten."""


class NeedsSettingError(BadRowError):
    """A record that cannot be understood unless the user gives a setting, which the message names.

    It is an error even if bad rows are skipped, because all records of the file would be skipped.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of a source that only some formats read; each is None if it is not given.

    Attributes:
        split: which split of a folder to read. None: ``train`` for training rows, otherwise
            ``test`` or ``dev``.
        prefix: which queries and judgments of a BEIR folder to read, by the prefix of their names
            (``qgen``).
        config: which task of an MTEB repository to read.
        miner: whose negatives to read; None: those of all miners.
        threshold: the lowest label or score that makes a pair positive.
        key_template: how the fields of a passage become its text; None: ``{title} {text}``.
    """

    split: str | None = None
    prefix: str | None = None
    config: str | None = None
    miner: str | None = None
    threshold: float | None = None
    key_template: str | None = None


@dataclass
class Parts:
    """The parts of a source that a format reads, and a record of what the format left out.

    A source consists of the files of its rows and, if the user names them, a corpus, queries and
    judgments. The latter are read when they are first needed.

    Attributes:
        source: path of the file or folder, as the user gave it.
        files: the files of the rows; readers of a folder set them.
        options: the settings of the source that formats read.
        texts_of_corpus: returns the texts of the corpus by document id; None if no corpus is named.
        texts_of_queries: returns ``{id as text: (id as the file has it, query)}``; None if no
            queries are named.
        judgments_given: returns (query id, document id, grade) for each of the judgments that the
            user names; None if none are named.
        skips_bad_rows: whether a bad row is counted and left out; otherwise it is an error.
        cache_folder: folder for the files of passages that are made from corpora.
        passages: the passages of all corpora that rows were joined to. A candidate that a row names
            by id becomes the number of its passage.
        allows_repeated_ids: whether a corpus may have an id twice, because the caller checks ids.
        keeps_ids: whether candidates that are texts carry the ids that their rows give them, see
            :mod:`~llm_embedder_data.rows.schema.identified_texts`.
        counts: number of all things that were left out, by reason.
        n_dropped: number of the records among them that give no row, by reason.
        first_dropped: location of the first of these records, by reason.
        read_names: columns that the format asked the first records for. Other columns are reported
            as not read.
        looked_up: the documents of the ids that :meth:`look_up` was called with last; None for an
            unknown id.
        document_ids: how many document ids were looked up in the corpus, and not found.
        query_ids: how many query ids were looked up in the queries, and not found.
        group_sizes: keys per query that the rows of a file ask for, by path; None for any number.
        known_as_labels: whether the values of a column are labels (or else scores), by path and
            column.
        known_as_ids: whether the values of some columns are ids (or else texts), by path and
            columns.
        at: path of the file that is being read, and its current record; errors and rows are
            reported there.
        first_at: the first record of each query whose row is made after all records are read.
    """

    source: str
    files: list[RawFile]
    options: Options
    texts_of_corpus: Callable[[], Mapping[str, str]] | None = None
    texts_of_queries: Callable[[], Mapping[str, tuple[Any, str]]] | None = None
    judgments_given: Callable[[], list[tuple[str, str, float]]] | None = None
    skips_bad_rows: bool = False
    cache_folder: Path = field(default_factory=cache_folder)
    passages: Passages = field(default_factory=Passages)
    allows_repeated_ids: bool = False
    keeps_ids: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    n_dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, RecordPlace] = field(default_factory=dict)
    read_names: set[str] = field(default_factory=set)
    looked_up: dict[str, Key | None] = field(default_factory=dict)
    document_ids: LookedUpIds = field(default_factory=partial(LookedUpIds, "document", "corpus"))
    query_ids: LookedUpIds = field(default_factory=partial(LookedUpIds, "query", "queries"))
    group_sizes: dict[str, int | None] = field(default_factory=dict)
    known_as_labels: dict[tuple[str, str], bool] = field(default_factory=dict)
    known_as_ids: dict[tuple[str, tuple[str, ...]], bool] = field(default_factory=dict)
    at: tuple[str, RawRecord] | None = None
    first_at: dict[Hashable, tuple[str, RawRecord] | None] = field(default_factory=dict)

    def records(self) -> Iterator[RawRecord]:
        """Yield the records of all files; ``at`` is always the record that was yielded last."""
        for file in self.files:
            for record in file:
                self.at = (file.path, record)
                yield record

    def note_query(self, query: Hashable) -> None:
        """Remember the current record as a query's first, for a row that is made later."""
        if query not in self.first_at:
            at = self.at
            if at is not None:  # without the record's content, which would stay in memory
                path, record = at
                at = path, RawRecord(self._own_values(), record.row, record.line)
            self.first_at[query] = at

    def own_key(self) -> str | None:
        """Return a key of the task and the instruction of the current record; None without any.

        Records of the same query with another task or instruction must not become one row.
        """
        own = self._own_values()
        return None if own is None else repr(sorted(own.items()))

    def _own_values(self) -> OwnValues | None:
        value = None if self.at is None else self.at[1].value
        if not isinstance(value, Mapping):
            return None
        own = {name: value[name] for name in OWN_FIELDS if value.get(name) is not None}
        return OwnValues(own) if own else None

    def go_to_query(self, query: Hashable) -> None:
        """Make a query's first record the current record, so that errors and rows refer to it."""
        self.at = self.first_at.get(query, self.at)

    def watched(self, record: RawRecord) -> Mapping[str, Any]:
        """Return a record's value, a mapping; a first record notes the columns asked of it."""
        if record.row >= LOOKED_AT:
            return record.value  # type: ignore[no-any-return]
        return WatchedRecord(record.value, self.read_names)

    def error(self, sentence: str) -> DataError:
        """Return an error that says where the current record is."""
        if self.at is None:
            return DataError.at(self.source, sentence)
        path, record = self.at
        return DataError.at(path, sentence, row=record.row, line=record.line)

    def leave_out(self, error: BadRowError | Dropped) -> None:
        """Count the current record as one that gives no row.

        Args:
            error: why; its message is the reason under which the record is counted.

        Raises:
            DataError: the record is bad and bad rows are not skipped, or a setting is needed.
        """
        if isinstance(error, NeedsSettingError):
            raise self.error(str(error)) from error
        if isinstance(error, BadRowError) and not self.skips_bad_rows:
            raise self.error(f"{error} (data.on_bad_row=skip leaves such rows out)") from error
        self.n_dropped[str(error)] += 1
        self.count_record(str(error))
        if self.at is not None:
            path, record = self.at
            self.first_dropped.setdefault(str(error), (path, record.row, record.line))

    def count_record(self, reason: str) -> None:
        """Count the current record as left out, without counting a dropped row.

        Use this where several records make one row, or where a record without text makes none.
        """
        self.counts[reason] += 1
        if self.at is not None:
            path, record = self.at
            value = None if isinstance(record.value, OwnValues) else record.value
            note_rejected(path, record.row, record.line, reason, value)

    @cached_property
    def documents(self) -> Mapping[str, str]:
        """Texts of the corpus by document id; some formats set them from their files instead.

        Raises:
            DataError: no corpus is named.
        """
        if self.texts_of_corpus is None:
            raise DataError.at(
                self.source,
                "its rows name documents by id, and no corpus is given (give corpus: a file of ids "
                "and texts)",
            )
        return self.texts_of_corpus()

    @cached_property
    def ids_of_lines(self) -> Sequence[str] | None:
        """The ids of the corpus in its order; None if they are line numbers already."""
        first = list(islice(self.documents, 1000))
        if _are_line_numbers(first):
            return None
        documents = self.documents
        return IdsOfLines(documents) if isinstance(documents, PassageFile) else list(documents)

    @cached_property
    def queries(self) -> Mapping[str, tuple[Any, str]]:
        """``{id as text: (id as the file has it, query)}``.

        Raises:
            DataError: no queries are named.
        """
        if self.texts_of_queries is None:
            lacks_corpus = self.texts_of_corpus is None
            and_corpus = ", and corpus: a file of documents" if lacks_corpus else ""
            raise DataError.at(
                self.source,
                "its rows name queries by id, and no queries are given (give queries: a file of "
                f"ids and texts{and_corpus})",
            )
        return self.texts_of_queries()

    def candidates_of(self, ids: list[str]) -> tuple[list[Key], list[int]]:
        """Return the documents of some ids, and the positions of the ids that the corpus has.

        The documents are as for :meth:`pos_and_neg_of`.

        Raises:
            BadRowError: the corpus has none of the ids.
            DataError: no corpus is named.
        """
        found, _, kept = self.pos_and_neg_of(ids, [])
        return found, kept

    def pos_and_neg_of(
        self, positive: list[str], negative: list[str]
    ) -> tuple[list[Key], list[Key], list[int]]:
        """Return the documents of a row's ids; unknown ids are left out and counted.

        A document is the number of its passage in ``passages`` if the corpus is a
        :class:`PassageFile`, otherwise its text.

        Args:
            positive: ids of the positives.
            negative: ids of the negatives.

        Returns:
            The positives, the negatives, and the positions of the known ids in ``[*positive,
            *negative]``, by which the scores of known documents can be picked.

        Raises:
            BadRowError: the corpus has none of the ids.
            Dropped: the corpus has no positive or no negative of the row.
            DataError: no corpus is named.
        """
        ids = [*positive, *negative]
        found = self._found(ids)
        kept = [position for position, key in enumerate(found) if key is not None]
        if len(kept) < len(ids):
            self.counts[_UNKNOWN] += len(ids) - len(kept)
        self._require_known(ids, found)
        if len(kept) < len(ids):
            n_positive = sum(position < len(positive) for position in kept)
            if (positive and not n_positive) or (negative and n_positive == len(kept)):
                side = "negative" if n_positive else "positive"
                raise Dropped(f"rows without a known {side}")
        pos = [key for key in found[: len(positive)] if key is not None]
        neg = [key for key in found[len(positive) :] if key is not None]
        return pos, neg, kept

    def _require_known(self, ids: list[str], found: list[Key | None]) -> None:
        """Count the ids that were looked up, and refuse a row none of whose ids is known.

        Raises:
            BadRowError: the corpus has none of the ids.
        """
        self._count(ids, found)
        if None in found and found.count(None) == len(ids):
            missing = ids[0]
            raise BadRowError(
                f"none of its document ids is in the corpus: {missing!r} is asked for, and "
                f"{self._known_ids()}"
            )

    def known_of(self, ids: list[str]) -> list[str]:
        """Return the ids that the corpus has; the others are left out and counted.

        Use this for a row that also holds texts, so that it does not depend on its ids alone.

        Raises:
            DataError: no corpus is named.
        """
        found = self._found(ids)
        self._count(ids, found)
        if None in found:
            self.counts[_UNKNOWN] += found.count(None)
        return [doc_id for doc_id, key in zip(ids, found, strict=True) if key is not None]

    def _count(self, ids: list[str], found: list[Key | None]) -> None:
        unknown: list[str] = []
        if None in found:  # rare, and large files hold billions of ids
            unknown = [doc_id for doc_id, key in zip(ids, found, strict=True) if key is None]
        self.document_ids.note(len(ids), unknown, self.at)

    def look_up(self, ids: Iterable[str]) -> None:
        """Look up the ids of many rows at once, which is faster than row by row.

        The results replace those of the last call. Call this before the rows' ids are asked for.

        Raises:
            DataError: the corpus cannot be read.
        """
        if self.texts_of_corpus is None or not isinstance(self.documents, PassageFile):
            return
        start, names = self.passages.add(self.documents), list(dict.fromkeys(ids))
        numbers = self.documents.find(names).tolist()
        self.looked_up = {
            name: None if number < 0 else start + number
            for name, number in zip(names, numbers, strict=True)
        }

    def _found(self, ids: list[str]) -> list[Key | None]:
        """Return the document of each id; None for an unknown id."""
        documents = self.documents
        if not isinstance(documents, PassageFile):
            return [self._identified(documents.get(doc_id), doc_id) for doc_id in ids]
        looked_up = self.looked_up
        if looked_up and all(map(looked_up.__contains__, ids)):
            return [looked_up[doc_id] for doc_id in ids]
        start = self.passages.add(documents)
        return [None if number < 0 else start + number for number in documents.find(ids).tolist()]

    def _identified(self, text: str | None, doc_id: str) -> str | None:
        return text if text is None or not self.keeps_ids else with_id(text, doc_id)

    @property
    def folder(self) -> Path:
        """The folder that is the source.

        Raises:
            DataError: the source is a file.
        """
        if not Path(self.source).is_dir():
            raise DataError.at(
                self.source,
                "it is one file, and this format is a folder of several files (give the folder)",
            )
        return Path(self.source)

    def checked_grades(self, grades: Mapping[str, float]) -> dict[str, float]:
        """Return a query's grades, after looking up its documents if a corpus is named.

        Documents that the corpus does not have stay: a search that cannot find them has missed
        them, as in trec_eval. They are counted, for :meth:`check_unknown_ids`.

        Args:
            grades: a query's grades, by document id.

        Raises:
            BadRowError: the corpus has none of the documents.
        """
        if self.texts_of_corpus is not None and grades:
            self._require_known(list(grades), self._found(list(grades)))
        return dict(grades)

    def query_of(self, query_id: Any) -> tuple[Any, str]:
        """Return the id, as the file of queries has it, and the text of a query.

        Args:
            query_id: the id by which a row names the query; an integer and its digits are equal.

        Raises:
            BadRowError: the id is missing, or of another type.
            Dropped: the queries do not have the id.
            DataError: no queries are named.
        """
        found = self.queries.get(document_id(query_id, "query id"))
        self.query_ids.note(1, [str(query_id)] if found is None else [], self.at)
        if found is None:
            raise Dropped("rows whose query is not in the queries")
        return found

    def complete_scores(self, given: Any, scores: list[float] | None) -> list[float] | None:
        """Return ``scores``; count the row if it gives scores that are not complete.

        Args:
            given: true if the row gives any score.
            scores: a score for each candidate, or None.
        """
        if scores is None and given:
            self.counts[INCOMPLETE_SCORES] += 1
        return scores

    def _known_ids(self) -> str:
        known = next(iter(self.documents), None)
        return "the corpus is empty" if known is None else f"the corpus has ids such as {known!r}"

    def check_unknown_ids(self) -> None:
        """Refuse rows whose ids belong to another corpus; call this when all rows are read.

        Raises:
            DataError: no id is known; or bad rows are not skipped, and over 1 % of the ids are
                unknown.
        """
        for ids, known in (
            (self.document_ids, lambda: self.documents),
            (self.query_ids, lambda: self.queries),
        ):
            if ids.n_unknown:
                ids.check(known(), self.source, skips=self.skips_bad_rows)


def _are_line_numbers(ids: list[str]) -> bool:
    """Whether ids count the lines of a corpus from 0; lines without text may be missing."""
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in ids):
        return False
    numbers = [int(text) for text in ids]
    return all(number >= line for line, number in enumerate(numbers)) and all(
        low < high for low, high in pairwise(numbers)
    )
