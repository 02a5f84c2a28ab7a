"""Reads the canonical rows of a source, and reports what was found and what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from llm_embedder_data.core.errors import ConfigError, DataError, check_choice
from llm_embedder_data.rows.faults.known_columns import look_alikes
from llm_embedder_data.rows.foreign_rows.folder_roles import files_by_role
from llm_embedder_data.rows.foreign_rows.found_rows import Found
from llm_embedder_data.rows.foreign_rows.own_fields import add_own_fields
from llm_embedder_data.rows.formats.detection import (
    check_named,
    format_of_file,
    format_of_folder,
    named,
    no_such_rows,
)
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.id_text import read_texts
from llm_embedder_data.rows.formats.judgments import Judgment
from llm_embedder_data.rows.formats.parts import OWN_FIELDS, Parts
from llm_embedder_data.rows.formats.trec import judgments_of
from llm_embedder_data.rows.passages.passage_building import Passage, passages_in
from llm_embedder_data.rows.passages.passage_files import PassageFile
from llm_embedder_data.rows.passages.passages import Passages
from llm_embedder_data.rows.records.memory_records import MemoryRecords
from llm_embedder_data.rows.records.raw_files import RawFile, RawRecord
from llm_embedder_data.rows.records.renamed_fields import RenamedFields
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row, has_passage_numbers
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.side_cars.parts_beside import (
    options_of,
    parts_beside,
    raw_file,
    read_run,
    read_scores,
    skips_bad_rows,
)
from llm_embedder_data.rows.side_cars.side_cars import GivenScores, Run, SideCars
from llm_embedder_data.rows.sources.data_places import (
    FIELDS,
    Place,
    check_settings,
    places_of,
)
from llm_embedder_data.rows.sources.folder_files import (
    counts_of_left_out,
)
from llm_embedder_data.rows.sources.source_content import digests_at, settings_at

# Values of ``format:`` that name a container. They are ignored, because the content of a file shows
# its container and its format.
_CONTAINERS = ("auto", "json", "parquet", "arrow", "csv", "tsv")

# Settings that only have an effect on training rows of some formats.
_OF_SOME_FORMATS = ("prefix", "config", "miner", "threshold")

# Settings that the files of a corpus, of queries and of judgments share with the rows.
_SHARED = ("data_root", "cache_dir", "key_template", "on_bad_row")


class RowReader:
    """Reads the canonical rows of a source; see :func:`~llm_embedder_data.rows.read_rows`.

    Args:
        source: as for ``read_rows``, and so are the settings.
        kind: the kind of the rows.
        allows_repeated_ids: whether not to check that ids of a corpus are unique, because the
            caller checks that.
        keeps_ids: whether candidates that are texts carry the ids from their rows: see
            :mod:`~llm_embedder_data.rows.schema.identified_texts`.

    Attributes:
        passages: the passages of the corpora to which training rows were joined so far.
        report: what was found so far, in reading order; complete when :meth:`rows` has ended.

    Raises:
        ConfigError: a setting is unknown, or there is no source.
    """

    def __init__(
        self,
        source: Any,
        *,
        kind: Kind = "train",
        allows_repeated_ids: bool = False,
        keeps_ids: bool = False,
        **settings: Any,
    ) -> None:
        check_choice(kind, Kind, "kind")
        settings = {name: value for name, value in settings.items() if value is not None}
        check_settings(settings, "read_rows")
        if source is None:
            raise ConfigError("source=None: nothing to read (give a path, or data)")
        self._source, self._kind, self._settings = source, kind, settings
        self.report: list[Found] = []
        self.passages = Passages()
        self._allows_repeated_ids = allows_repeated_ids
        self._keeps_ids = keeps_ids
        self._parts: Parts | None = None
        self._formats: list[Format] = []
        self._left_out = Counter[str]()  # files of the place that are not read

    @property
    def at(self) -> tuple[str, RawRecord] | None:
        """The file and the record of the last row; None before the first row."""
        return None if self._parts is None else self._parts.at

    def rows(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            DataError: the data cannot be read, or has no known format.
            ConfigError: a setting cannot be used.
        """
        yield from map(self._with_texts, self.numbered_rows())

    def numbered_rows(self) -> Iterator[Row]:
        """Yield the rows; candidates that were ids are numbers of ``passages`` instead of texts.

        Raises:
            DataError: the data cannot be read, or has no known format.
            ConfigError: a setting cannot be used.
        """
        given: dict[str, Any] = {}
        for place in places_of(self._source, self._kind, self._settings):
            given |= {name: place.settings.get(name) for name in _OF_SOME_FORMATS}
            yield from self._of_place(place)
        if self._kind == "train":
            self._check_have_effect(given)

    def _check_have_effect(self, given: Mapping[str, Any]) -> None:
        """Refuse settings that have no effect on rows of any format that was read.

        Raises:
            ConfigError: there is such a setting.
        """
        for name, value in given.items():
            if value is not None and not any(name in found.settings for found in self._formats):
                formats = ", ".join(dict.fromkeys(found.name for found in self._formats))
                raise ConfigError(
                    f"{name}={value!r}: it has no effect on rows of the format {formats} (leave it "
                    "out, or give another format)"
                )

    def _with_texts(self, row: Row) -> Row:
        if self._kind == "train" and has_passage_numbers(row):
            sides = [side for side in ("pos", "neg", "candidates") if row[side]]
            numbers = np.array([number for side in sides for number in row[side]], np.int64)
            texts = iter(self.passages.texts(numbers))
            for side in sides:
                row[side] = list(islice(texts, len(row[side])))
        return row

    # -- one place ---------------------------------------------------------------------------------

    def _of_place(self, place: Place) -> Iterator[Row]:
        settings = dict(place.settings)
        chosen = _chosen_format(settings.get("format"))
        whole: Format | None = None
        files: list[RawFile] = []
        rename = RenamedFields.of(settings, FIELDS)
        if place.folder is not None:
            whole, paths = self._in_folder(place.folder, chosen, settings)
        else:
            paths = list(place.files)
            self._left_out = counts_of_left_out(place.left_out, os.path.dirname(place.name))
        skips = skips_bad_rows(settings)
        if place.data is not None:
            files = [MemoryRecords(place.name, data=place.data, rename=rename)]
        else:
            files = [raw_file(path, skips, rename) for path in paths]
        for file in files:
            _require_columns(file, rename)
        source = str(place.folder or (paths[0] if len(paths) == 1 else place.name))
        parts = Parts(
            source,
            files,
            options_of(settings),
            skips_bad_rows=skips,
            cache_folder=cache_folder(settings.get("cache_dir")),
            passages=self.passages,
            allows_repeated_ids=self._allows_repeated_ids,
            keeps_ids=self._keeps_ids,
        )
        self._parts = parts
        self._join(parts, settings)
        side_cars = self._side_cars(parts, settings)
        task = settings.get("task") if self._kind == "train" else None
        if whole is not None:
            yield from self._of_format(whole, parts, side_cars, task)
            if side_cars is not None:
                side_cars.check_met(source)
            return
        if not files:
            raise DataError.at(source, "the folder holds no file of rows (name the files)")
        by_format: dict[str, tuple[Format, list[RawFile]]] = {}
        for file in files:
            found = chosen or format_of_file(file, self._kind)
            by_format.setdefault(found.name, (found, []))[1].append(file)
        for found, files_of_format in by_format.values():
            parts.files = files_of_format
            yield from self._of_format(found, parts, side_cars, task)
            if chosen is not None and not self.report[-1].n_rows:
                check_named(chosen, files_of_format)
        if side_cars is not None:
            side_cars.check_met(source)

    def _of_format(
        self, chosen: Format, parts: Parts, side_cars: SideCars | None, task: str | None
    ) -> Iterator[Row]:
        read = chosen.reader(self._kind)
        if read is None:
            raise no_such_rows(parts.source, chosen, self._kind)
        self._formats.append(chosen)
        found = Found(files=[], format=chosen.name, left_out=self._left_out)
        self._left_out = Counter()
        self.report.append(found)
        before, dropped_before = Counter(parts.counts), Counter(parts.n_dropped)
        try:
            for row in read(parts):
                found.n_rows += 1
                if self._kind != "corpus":
                    add_own_fields(row, parts)
                if side_cars is not None:
                    row = side_cars.join(self._with_texts(row), found.n_rows - 1, parts)
                    row.pop("known", None)  # a canonical row has no such field
                if task is not None and row["task"] is None:
                    row["task"] = task
                yield row
            parts.check_unknown_ids()
        finally:
            found.left_out.update(parts.counts - before)
            found.unread += _unread(parts, () if self._kind == "corpus" else OWN_FIELDS)
            found.dropped.update(parts.n_dropped - dropped_before)
            found.first_dropped.update(
                (reason, at) for reason, at in parts.first_dropped.items() if found.dropped[reason]
            )
            if self._kind == "train":
                found.group_sizes.update({file.path: None for file in parts.files})
                found.group_sizes.update(parts.group_sizes)
            for file in parts.files:
                found.left_out.update(file.counts)
            found.files += [(file.path, file.found) for file in parts.files]

    def _in_folder(
        self, folder: Path, chosen: Format | None, settings: dict[str, Any]
    ) -> tuple[Format | None, list[str]]:
        """Return the format of a folder as a whole; or None and the paths of its files of rows.

        In the second case, files with a corpus, queries or judgments are added to the settings,
        unless the user gave others.
        """
        whole = format_of_folder(folder)
        if whole is not None and chosen in (None, whole):
            return whole, []
        found = files_by_role(folder, self._kind, settings.get("split"))
        self._left_out = counts_of_left_out(found.rows.left_out, folder)
        for name, files in found.beside.items():
            if files and settings.get(name) is None:
                settings[name] = list(map(str, files))
        if chosen is not None and not found.rows.files:
            return chosen, []
        return None, list(map(str, found.rows.files))

    # -- files beside the rows -----------------------------------------------------------------

    def _join(self, parts: Parts, settings: Mapping[str, Any]) -> None:
        shared = {name: settings[name] for name in _SHARED if name in settings}
        corpus, queries, qrels = (settings.get(name) for name in ("corpus", "queries", "qrels"))
        if corpus is not None:
            parts.texts_of_corpus = cache(lambda: self._corpus_texts(corpus, shared))
        if queries is not None:
            parts.texts_of_queries = cache(lambda: self._query_texts(queries, shared))
        if qrels is not None:
            parts.judgments_given = cache(lambda: self._judgments(qrels, shared))

    def _side_cars(self, parts: Parts, settings: Mapping[str, Any]) -> SideCars | None:
        """Return the negatives and scores to join; None if the settings name none."""
        negatives, scores = settings.get("negatives"), settings.get("scores")
        if self._kind != "train" or (negatives is None and scores is None):
            return None
        shared = {name: settings[name] for name in _SHARED if name in settings}

        return SideCars(
            (lambda: self._mined(negatives, shared)) if negatives is not None else None,
            (lambda: self._given_scores(scores, shared)) if scores is not None else None,
            lambda ids: parts.documents,
        )

    def _mined(self, negatives: Any, shared: Mapping[str, Any]) -> Run:
        found, read = read_run(negatives, shared, "negatives")
        for parts in read:
            self._report_beside(parts, "negatives", len(found))
        return found

    def _given_scores(self, scores: Any, shared: Mapping[str, Any]) -> GivenScores:
        found, read = read_scores(scores, shared)
        for parts in read:
            self._report_beside(parts, "scores", len(found.run) + len(found.rows))
        return found

    def _corpus_texts(self, corpus: Any, shared: Mapping[str, Any]) -> PassageFile:
        source = {"corpus": corpus}
        reader = RowReader(source, kind="corpus", allows_repeated_ids=True, **shared)

        def read() -> Iterator[Passage]:
            for row in reader.numbered_rows():
                yield Passage(row["id"], row["text"], reader.at)

        folder = cache_folder(shared.get("cache_dir"))
        digests = digests_at(source, "corpus", shared, "source", folder)
        passages = passages_in(
            folder,
            digests,
            (settings_at(corpus), shared.get("key_template")),
            read,
            name="corpus",
            skips_bad_rows=skips_bad_rows(shared),
            found=lambda: [found.as_dict() for found in reader.report],
        )
        # The cache may have been written for files of the same content at other paths.
        paths = dict(zip(passages.header["digested"], digests, strict=True))
        report = [
            Found.of_dict(found).with_paths(lambda path: paths.get(path, path))
            for found in passages.header["found"]
        ]
        if report:
            report[-1].left_out.update(passages.header["counts"])
        self.report += report
        return passages

    def _query_texts(
        self, queries: Any, shared: Mapping[str, Any]
    ) -> Mapping[str, tuple[Any, str]]:
        texts: dict[str, tuple[Any, str]] = {}
        for parts in parts_beside(queries, shared, "queries"):
            texts.update((str(query_id), (query_id, text)) for query_id, text in read_texts(parts))
            self._report_beside(parts, "queries", len(texts))
        return texts

    def _judgments(self, qrels: Any, shared: Mapping[str, Any]) -> list[Judgment]:
        judgments: list[Judgment] = []
        for parts in parts_beside(qrels, shared, "qrels"):
            judgments += judgments_of(parts)
            self._report_beside(parts, "judgments", len(judgments))
        return judgments

    def _report_beside(self, parts: Parts, what: str, n_rows: int) -> None:
        files = [(file.path, file.found) for file in parts.files]
        self.report.append(
            Found(files=files, format=what, n_rows=n_rows, left_out=Counter(parts.counts))
        )


def _unread(parts: Parts, read_otherwise: tuple[str, ...]) -> list[str]:
    """Return columns of the first records that look like known columns, but were not read."""
    if not parts.read_names:
        return []
    names = {name: None for file in parts.files for name in file.fields}
    return look_alikes(names, parts.read_names.union(read_otherwise))


def _require_columns(file: RawFile, rename: RenamedFields | None) -> None:
    """Check that the first records have all columns that the user named.

    Raises:
        DataError: none of them has one of the columns.
    """
    if rename is None:
        return
    missing = rename.missing(file.original_head)
    if missing and file.original_head:
        first = file.original_head[0]
        columns = (
            ", ".join(str(name)[:40] for name in list(first)[:20])
            if isinstance(first, dict)
            else f"{file.found}, without names"
        )
        raise DataError.at(
            file.path,
            f"it has no column {', '.join(map(repr, missing))}: its columns are {columns} (correct "
            "the name in the source)",
        )


def _chosen_format(name: Any) -> Format | None:
    if name is None or name in _CONTAINERS:
        return None
    if not isinstance(name, str):
        raise ConfigError(f"format={name!r}: expected the name of a format")
    return named(name)
