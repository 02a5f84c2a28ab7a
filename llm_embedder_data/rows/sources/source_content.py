"""Computes what a source's rows depend on: the digests of all its files, and its settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.records.memory_digest import memory_digest
from llm_embedder_data.rows.records.memory_records import is_data
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.sources.data_places import Place, places_of
from llm_embedder_data.rows.sources.folder_files import files_below
from llm_embedder_data.rows.sources.reader_settings import READER_OPTIONS
from llm_embedder_data.rows.sources.sources import Source

_SIDE_FILES = ("corpus", "queries", "qrels", "negatives", "scores")


@dataclass(frozen=True, slots=True)
class SourceContent:
    """The content of all files that a source names.

    Attributes:
        digests: the digest of each file, by path, and of data in memory, by name, in reading order.
        settings: the settings that decide how the rows are read, as text, without paths.
    """

    digests: Mapping[str, str]
    settings: str

    @property
    def digest(self) -> str:
        """A digest of the contents and settings, which does not depend on paths."""
        contents = (list(self.digests.values()), self.settings)
        return str(xxhash.xxh3_128_hexdigest(repr(contents).encode()))


def content_of(
    source: Source, kind: Kind, data_root: str | os.PathLike[str] | None, cache_folder: Path
) -> SourceContent:
    """Return the content of all files that a source names.

    Args:
        source: the source.
        kind: the kind of its rows.
        data_root: the folder that the prefix ``llm-embedder:`` of a path stands for.
        cache_folder: where digests are cached.

    Raises:
        DataError: a file does not exist, or cannot be read.
    """
    shared = {"data_root": data_root, "cache_dir": cache_folder}
    digests: dict[str, str] = {}
    rows = source.data if source.data is not None else list(source.files)
    named: list[tuple[str, Any]] = [("path", rows)]
    named += [
        (name, source.reader_options[name]) for name in _SIDE_FILES if name in source.reader_options
    ]
    for name, value in named:
        split_kind: Kind = "corpus" if name == "corpus" else kind
        shared_settings = {**shared, "split": source.reader_options.get("split")}
        where = f"{source.name}.{name}"
        digests.update(digests_at(value, split_kind, shared_settings, where, cache_folder))
    plain = {
        name: settings_at(value) if name in _SIDE_FILES else _without_paths(value)
        for name, value in source.reader_options.items()
    }
    fields = sorted(source.fields.items())
    return SourceContent(digests, repr((source.format, fields, sorted(plain.items()))))


def digests_at(
    source: Any, kind: Kind, settings: Mapping[str, Any], where: str, cache_folder: Path
) -> dict[str, str]:
    """Return the digests of all files of a source, by path, and of data in memory, by name.

    Args:
        source: a source as for :func:`~llm_embedder_data.rows.sources.data_places.places_of`.
        kind: the kind of its rows; it decides which of several splits is read.
        settings: settings of the whole source.
        where: the name of the setting, for messages.
        cache_folder: where digests are cached.

    Raises:
        DataError: a file does not exist, or cannot be read.
    """
    digests: dict[str, str] = {}
    for place in places_of(source, kind, settings, where):
        digests.update(_digests_of(place, cache_folder))
    return digests


def settings_at(source: Any) -> Any:
    """Return the settings of a source, without paths and data; a list for a list of sources."""
    if isinstance(source, list | tuple) and not is_data(source):
        return [settings_at(entry) for entry in source]
    return _without_paths(source) if isinstance(source, Mapping) else None


def _digests_of(place: Place, cache_folder: Path) -> Iterator[tuple[str, str]]:
    if place.data is not None:
        yield place.name, memory_digest(place.data, place.name)
    elif place.folder is not None:
        for file in sorted(files_below(place.folder)):
            if file.is_file():
                yield str(file), content_digest(str(file), cache_folder)
    else:
        for path in place.files:
            yield path, content_digest(path, cache_folder)


def _without_paths(value: Any) -> Any:
    """Return the value of a setting without paths and data."""
    if is_data(value) or isinstance(value, os.PathLike):
        return None
    if isinstance(value, Mapping):
        return {
            str(name): _without_paths(entry)
            for name, entry in value.items()
            if name not in ("path", *_SIDE_FILES)
        }
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    return value


assert set(_SIDE_FILES) <= set(READER_OPTIONS["train"])
