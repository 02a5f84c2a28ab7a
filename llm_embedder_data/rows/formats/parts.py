"""What a format reads rows from, joins them to, and where it puts down what it left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.passages.passage_files import IdsOfLines, PassageFile
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.raw_files import LOOKED_AT, RawFile, RawRecord, RecordPlace
from llm_embedder_data.rows.records.rejected_records import note_rejected
from llm_embedder_data.rows.schema.canonical_rows import BadRowError, Dropped, Key, document_id
from llm_embedder_data.rows.schema.identified_texts import with_id
from llm_embedder_data.rows.settings.cache_folder import cache_folder

# Why a row has no scores, as it is counted.
INCOMPLETE_SCORES = "rows without teacher scores, as some candidates have none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A source's settings that some format reads.

    Attributes:
        split: which of several splits: train for training, else test or dev, where None.
        prefix: of the files' names in a BEIR folder (``qgen``).
        config: of an MTEB repository.
        miner: whose negatives are taken; None for those of all.
        threshold: labels at or above it are positive.
        key_template: titles and texts of passages; None for ``{title} {text}``.
    """

    split: str | None = None
    prefix: str | None = None
    config: str | None = None
    miner: str | None = None
    threshold: float | None = None
    key_template: str | None = None


@dataclass
class Parts:
    """What a format reads rows from, and where it puts down what it left out.

    Attributes:
        source: the path or folder, as the user gave it.
        files: of the rows themselves.
        options: the source's settings.
        texts_of_corpus: the texts of the corpus by id; None where no corpus is named.
        texts_of_queries: the texts of queries by id, each with the id as its file has it.
        judgments_given: (query id, document id, grade) of the judgments named beside the rows.
        skips_bad_rows: whether a bad row is counted; else it is an error.
        cache_folder: where the passages of corpora are kept.
        passages: of all corpora that rows were joined to; candidates are their numbers.
        allows_repeated_ids: whether an id may stand in a corpus twice, as another check finds it.
        keeps_ids: whether texts of candidates know the ids that their rows give them.
        counts: what was left out, by reason.
        n_dropped: of these, the records that give no row.
        first_dropped: where the first of these was, by reason.
        read_names: columns that a format asked the first records for; others are not read.
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
    n_ids: int = 0
    unknown_ids: int = 0
    example_of_unknown: tuple[str, tuple[str, RawRecord] | None] | None = None
    n_query_ids: int = 0
    unknown_query_ids: int = 0
    example_of_unknown_query: tuple[str, tuple[str, RawRecord] | None] | None = None
    group_sizes: dict[str, int | None] = field(default_factory=dict)
    known_as_labels: dict[tuple[str, str], bool] = field(default_factory=dict)
    known_as_ids: dict[tuple[str, tuple[str, ...]], bool] = field(default_factory=dict)
    at: tuple[str, RawRecord] | None = None
    first_at: dict[Hashable, tuple[str, RawRecord] | None] = field(default_factory=dict)

    def records(self) -> Iterator[RawRecord]:
        """The records of all files; the place of errors follows."""
        for file in self.files:
            for record in file:
                self.at = (file.path, record)
                yield record

    def note_query(self, query: Hashable) -> None:
        """Note that the record that is being read names a query whose row is made later."""
        if query not in self.first_at:
            at = self.at
            if at is not None:  # without the record's content, which would stay in memory
                path, record = at
                at = path, RawRecord(None, record.row, record.line)
            self.first_at[query] = at

    def go_to_query(self, query: Hashable) -> None:
        """Let errors and rows come from the first record that named a query."""
        self.at = self.first_at.get(query, self.at)

    def watched(self, record: RawRecord) -> Mapping[str, Any]:
        """A record; of the first ones, it is noted which of their columns are asked for."""
        return _Watched(record.value, self.read_names) if record.row < LOOKED_AT else record.value

    def error(self, sentence: str) -> DataError:
        """An error at the record that is being read."""
        if self.at is None:
            return DataError.at(self.source, sentence)
        path, record = self.at
        return DataError.at(path, sentence, row=record.row, line=record.line)

    def leave_out(self, error: BadRowError | Dropped) -> None:
        """Count a record that gives no row.

        Raises:
            DataError: it is a bad one, and bad rows are errors.
        """
        if isinstance(error, BadRowError) and not self.skips_bad_rows:
            raise self.error(f"{error} (data.on_bad_row=skip leaves such rows out)") from error
        self.n_dropped[str(error)] += 1
        self.count_record(str(error))
        if self.at is not None:
            path, record = self.at
            self.first_dropped.setdefault(str(error), (path, record.row, record.line))

    def count_record(self, reason: str) -> None:
        """Count the record that is being read as one that is left out, whatever becomes of others.

        Several such records may be one row that is dropped, or none.
        """
        self.counts[reason] += 1
        if self.at is not None:
            path, record = self.at
            note_rejected(path, record.row, record.line, reason, record.value)

    @cached_property
    def documents(self) -> Mapping[str, str]:
        """The texts of the corpus by id.

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
        """The ids of the corpus's documents in its order; None where they count its lines."""
        first = list(islice(self.documents, 1000))
        if _are_lines(first):
            return None
        documents = self.documents
        return IdsOfLines(documents) if isinstance(documents, PassageFile) else list(documents)

    @cached_property
    def queries(self) -> Mapping[str, tuple[Any, str]]:
        """The ids and texts of the queries, by the id's text.

        Raises:
            DataError: no queries are named.
        """
        if self.texts_of_queries is None:
            lacks_corpus = self.texts_of_corpus is None
            and_corpus = ", and corpus: one of the documents" if lacks_corpus else ""
            raise DataError.at(
                self.source,
                "its rows name queries by id, and no queries are given (give queries: a file of "
                f"ids and texts{and_corpus})",
            )
        return self.texts_of_queries()

    def joined(self, ids: list[str]) -> tuple[list[Key], list[int]]:
        """One side's documents, and the places of those that are known; see :meth:`sides`.

        Raises:
            BadRowError: none of them is known.
        """
        found, _, kept = self.sides(ids, [])
        return found, kept

    def sides(
        self, positive: list[str], negative: list[str]
    ) -> tuple[list[Key], list[Key], list[int]]:
        """The documents of positives and negatives; an unknown one is left out and counted.

        They are numbers of ``passages``; texts where the rows themselves hold the documents.

        Returns:
            The positives, the negatives, and the places of the known documents among the ids of
            the positives followed by those of the negatives.

        Raises:
            BadRowError: no document of the row is known.
            Dropped: none of a side is known.
        """
        ids = [*positive, *negative]
        found = self._found(ids)
        kept = [place for place, key in enumerate(found) if key is not None]
        self.n_ids += len(ids)
        unknown = len(ids) - len(kept)
        if unknown:
            self.unknown_ids += unknown
            missing = ids[found.index(None)]
            self.example_of_unknown = self.example_of_unknown or (missing, self.at)
            self.counts["document ids that the corpus does not have"] += unknown
            if not kept:
                raise BadRowError(
                    f"none of its document ids is in the corpus: {missing!r} is asked for, and "
                    f"{self._known_ids()}"
                )
            n_positive = sum(place < len(positive) for place in kept)
            if (positive and not n_positive) or (negative and n_positive == len(kept)):
                side = "negative" if n_positive else "positive"
                raise Dropped(f"rows without a known {side}")
        pos = [key for key in found[: len(positive)] if key is not None]
        neg = [key for key in found[len(positive) :] if key is not None]
        return pos, neg, kept

    def _found(self, ids: list[str]) -> list[Key | None]:
        """The document of each id; None for an unknown one."""
        documents = self.documents
        if not isinstance(documents, PassageFile):
            return [self._identified(documents.get(one), one) for one in ids]
        start = self.passages.add(documents)
        return [None if number < 0 else start + number for number in documents.find(ids).tolist()]

    def _identified(self, text: str | None, one: str) -> str | None:
        return text if text is None or not self.keeps_ids else with_id(text, one)

    @property
    def folder(self) -> Path:
        """The folder that the rows are read from.

        Raises:
            DataError: the source is a file.
        """
        if not Path(self.source).is_dir():
            raise DataError.at(
                self.source, "it is one file, and this format is a folder of several (give it)"
            )
        return Path(self.source)

    def known(self, ids: Mapping[str, float]) -> dict[str, float]:
        """The grades of the documents that the corpus has; all of them where there is no corpus.

        Raises:
            BadRowError: none of them is known.
        """
        if self.texts_of_corpus is None:
            return dict(ids)
        _, kept = self.joined(list(ids))
        names = list(ids)
        return {names[place]: ids[names[place]] for place in kept}

    def query_of(self, query_id: Any) -> tuple[Any, str]:
        """The id and the text of a query that a row names.

        Raises:
            Dropped: the queries do not have it.
        """
        found = self.queries.get(document_id(query_id, "query id"))
        self.n_query_ids += 1
        if found is None:
            self.unknown_query_ids += 1
            self.example_of_unknown_query = self.example_of_unknown_query or (
                str(query_id),
                self.at,
            )
            raise Dropped("rows whose query is not in the queries")
        return found

    def without_scores(self, given: Any, scores: list[float] | None) -> list[float] | None:
        """Scores as they are; a row whose scores are incomplete is counted."""
        if scores is None and given:
            self.counts[INCOMPLETE_SCORES] += 1
        return scores

    def _known_ids(self) -> str:
        known = next(iter(self.documents), None)
        return "the corpus is empty" if known is None else f"the corpus has ids such as {known!r}"

    def check_unknown_ids(self) -> None:
        """Refuse rows whose ids are mostly another corpus's, once all rows are read.

        Raises:
            DataError: no id is known; or more than 1 % are not, where bad rows are errors.
        """
        if self.unknown_ids:
            self._check(self.unknown_ids, self.n_ids, "document", "corpus", self.example_of_unknown)
        if self.unknown_query_ids:
            self._check(
                self.unknown_query_ids,
                self.n_query_ids,
                "query",
                "queries",
                self.example_of_unknown_query,
            )

    def _check(
        self,
        unknown: int,
        asked: int,
        what: str,
        where: str,
        found: tuple[str, tuple[str, RawRecord] | None] | None,
    ) -> None:
        known = next(iter(self.documents if what == "document" else self.queries), None)
        example, at = found or (None, None)
        path, record = at or (self.source, None)
        row, line = (None, None) if record is None else (record.row, record.line)
        if unknown == asked:
            raise DataError.at(
                path,
                f"no {what} id is in the {where}: {example!r} is asked for, and the {where} hold "
                f"ids such as {known!r} (give the {where} that belong to these rows)",
                row=row,
                line=line,
            )
        if not self.skips_bad_rows and unknown > 0.01 * asked:
            raise DataError.at(
                path,
                f"{unknown} of {asked} {what} ids are not in the {where}, such as {example!r}, "
                f"which hold ids such as {known!r} (data.on_bad_row=skip leaves them out)",
                row=row,
                line=line,
            )


def _are_lines(ids: list[str]) -> bool:
    """Whether ids count lines; passages without text are left out of a corpus."""
    if not all(one.isascii() and one.isdigit() and len(one) < 19 for one in ids):
        return False
    numbers = [int(one) for one in ids]
    return all(number >= line for line, number in enumerate(numbers)) and all(
        low < high for low, high in pairwise(numbers)
    )


class _Watched(dict[str, Any]):
    """A record that notes the names that it is asked for."""

    def __init__(self, record: Mapping[str, Any], names: set[str]) -> None:
        super().__init__(record)
        self._names = names

    def get(self, name: str, default: Any = None) -> Any:
        self._names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self._names.add(name)
        return super().__getitem__(name)
