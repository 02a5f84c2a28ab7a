"""Reads files that belong to rows but are separate from them: judgments, negatives and scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError, DataError, check_choice
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.formats.parts import Options, Parts
from llm_embedder_data.rows.formats.trec import Runs, run_of
from llm_embedder_data.rows.records.memory_records import MemoryRecords
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.records.renamed_fields import RenamedFields
from llm_embedder_data.rows.schema.canonical_rows import BadRowError
from llm_embedder_data.rows.side_cars.row_scores import RowScores, holds_row_scores
from llm_embedder_data.rows.side_cars.scores_beside import ScoresBeside, scores_beside
from llm_embedder_data.rows.side_cars.side_cars import GivenScores
from llm_embedder_data.rows.sources.data_places import FIELDS, places_of
from llm_embedder_data.rows.sources.folder_files import files_in


def parts_beside(source: Any, shared: Mapping[str, Any], where: str) -> Iterator[Parts]:
    """Yield the parts that a setting such as ``qrels`` or ``negatives`` names.

    Args:
        source: the value of the setting.
        shared: settings that the files share with the rows.
        where: the name of the setting, for messages.

    Raises:
        DataError: a file is empty, and its setting is not ``negatives``.
    """
    for place in places_of({where: source}, "eval", shared, ""):
        skips = skips_bad_rows(place.settings)
        folder = place.folder
        paths = list(place.files) if folder is None else list(map(str, files_in(folder).files))
        rename = RenamedFields.of(place.settings, FIELDS)
        files = [raw_file(path, skips, rename) for path in paths]
        if place.data is not None:
            files = [MemoryRecords(place.name, data=place.data, rename=rename)]
        for file in files:
            # Mining may find no negatives within its limits. Other empty files are mistakes.
            if where != "negatives" and not file.head:
                raise DataError.at(
                    file.path, f"the file of {where} holds no row (fill it, or leave it out)"
                )
        yield Parts(place.name, files, options_of(place.settings), skips_bad_rows=skips)


def read_run(source: Any, shared: Mapping[str, Any], where: str) -> tuple[Runs, list[Parts]]:
    """Return the documents of each query with their scores, best first, and the parts read.

    Args:
        source: the value of ``negatives`` or ``scores``, which names files of a run.
        shared: settings that the files share with the rows.
        where: the name of the setting, for messages.

    Raises:
        DataError: a file cannot be read, or is empty and its setting is not ``negatives``.
    """
    found: Runs = {}
    read = []
    for parts in parts_beside(source, shared, where):
        for query_id, documents in run_of(parts).items():
            found.setdefault(query_id, {}).update(documents)
        read.append(parts)
    return found, read


def read_scores(source: Any, shared: Mapping[str, Any]) -> tuple[GivenScores, list[Parts]]:
    """Return the teacher scores that ``scores`` names, and the parts read.

    For a run that was mined, they include the scores in the file beside the run: see
    :mod:`.scores_beside`.

    Args:
        source: the value of the setting, which names files of a run or of scores of whole rows.
        shared: settings that the files share with the rows.

    Raises:
        ConfigError: there are files of both kinds.
        DataError: a file cannot be read, or is empty.
    """
    run: Runs = {}
    rows, names = RowScores(), list[str]()
    read = []
    for parts in parts_beside(source, shared, "scores"):
        files = parts.files
        for file in files:
            parts.files = [file]
            if holds_row_scores(file):
                names.append(file.path)
                _add_row_scores(rows, parts)
            else:
                beside = _scores_beside(file.path, shared)
                for found in (run_of(parts), beside.read()):
                    for query_id, documents in found.items():
                        run.setdefault(query_id, {}).update(documents)
        parts.files = files
        read.append(parts)
    if run and rows:
        raise ConfigError(
            f"scores: {one_line(names[0])} has the scores of whole rows, and another file those of "
            "documents by id (give files of one kind)"
        )
    return GivenScores(run, rows, one_line(", ".join(names))), read


def _scores_beside(path: str, shared: Mapping[str, Any]) -> ScoresBeside:
    if not os.path.isfile(path):
        return ScoresBeside(())
    cache_dir = shared.get("cache_dir")
    digest = content_digest(path, None if cache_dir is None else Path(cache_dir))
    return scores_beside({path: digest})[0]


def _add_row_scores(rows: RowScores, parts: Parts) -> None:
    for record in parts.records():
        try:
            rows.add(record.value)
        except BadRowError as error:
            parts.leave_out(error)


def raw_file(path: str, skips: bool, rename: RenamedFields | None) -> RawFile:
    """Return a file of records.

    Args:
        path: the file.
        skips: whether bad records are skipped.
        rename: returns records with canonical names; None if the user renamed no columns.
    """
    names = rename.names if rename else ()
    return RawFile(path, names, skips_bad_records=skips, rename=rename)


def skips_bad_rows(settings: Mapping[str, Any]) -> bool:
    """Return whether settings say that bad rows are skipped.

    Raises:
        ConfigError: ``on_bad_row`` has a value that is not allowed.
    """
    policy = settings.get("on_bad_row", "raise")
    check_choice(policy, ("raise", "skip"), "on_bad_row")
    return bool(policy == "skip")


def options_of(settings: Mapping[str, Any]) -> Options:
    """Return the settings that readers of formats use."""
    names = {option.name for option in fields(Options)}
    return Options(**{name: value for name, value in settings.items() if name in names})
