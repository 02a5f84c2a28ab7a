"""Files that stand beside rows: a corpus, judgments, negatives and scores in files of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from llm_embedder_data.core.errors import check_choice
from llm_embedder_data.rows.data_places import FIELDS, places_of, row_files
from llm_embedder_data.rows.formats.parts import Options, Parts
from llm_embedder_data.rows.formats.trec import Runs, run_of
from llm_embedder_data.rows.memory_records import MemoryRecords
from llm_embedder_data.rows.raw_files import RawFile
from llm_embedder_data.rows.renamed_fields import RenamedFields


def parts_beside(source: Any, shared: Mapping[str, Any], where: str) -> Iterator[Parts]:
    """Yield what a setting such as ``qrels`` or ``negatives`` names, file by file.

    Args:
        source: the value of the setting.
        shared: settings that the files share with the rows.
        where: name of the setting, for messages.
    """
    for place in places_of({where: source}, "eval", shared, ""):
        skips = skips_bad_rows(place.settings)
        paths = (
            [str(path) for path in row_files(place.folder)] if place.folder else list(place.files)
        )
        rename = RenamedFields.of(place.settings, FIELDS)
        files = [raw_file(path, skips, rename) for path in paths]
        if place.data is not None:
            files = [MemoryRecords(place.name, data=place.data, rename=rename)]
        yield Parts(place.name, files, options_of(place.settings), skips_bad_rows=skips)


def read_run(source: Any, shared: Mapping[str, Any], where: str) -> tuple[Runs, list[Parts]]:
    """Return the documents of each query with their scores, best first, and what was read.

    Args:
        source: the value of ``negatives`` or ``scores``: files of a run.
        shared: settings that the files share with the rows.
        where: name of the setting, for messages.
    """
    found: Runs = {}
    read = []
    for parts in parts_beside(source, shared, where):
        for query_id, documents in run_of(parts).items():
            found.setdefault(query_id, {}).update(documents)
        read.append(parts)
    return found, read


def raw_file(path: str, skips: bool, rename: RenamedFields | None) -> RawFile:
    """Return a file of records.

    Args:
        path: the file.
        skips: whether bad records are skipped.
        rename: the names that fields have in it.
    """
    names = rename.names if rename else ()
    return RawFile(path, names, skips_bad_records=skips, rename=rename)


def skips_bad_rows(settings: Mapping[str, Any]) -> bool:
    """Return whether bad rows are skipped."""
    policy = settings.get("on_bad_row", "raise")
    check_choice(policy, ("raise", "skip"), "on_bad_row")
    return bool(policy == "skip")


def options_of(settings: Mapping[str, Any]) -> Options:
    """Return the settings that readers of formats look at."""
    names = {option.name for option in fields(Options)}
    return Options(**{name: value for name, value in settings.items() if name in names})
