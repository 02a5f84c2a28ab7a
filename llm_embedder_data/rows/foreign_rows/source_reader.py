"""Makes the reader of the canonical rows of a source, with the settings of a data module."""

from __future__ import annotations

import os
from typing import Any

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.settings.key_templates import unless_default
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.data_places import Place
from llm_embedder_data.rows.sources.sources import Source


def reader_of(
    source: Source,
    settings: ReadingSettings,
    kind: Kind,
    key_template: str | None = None,
    *,
    keeps_ids: bool = False,
) -> RowReader:
    """Return a reader of the canonical rows of a source.

    Args:
        source: the source of the rows.
        settings: how the rows are read.
        kind: the kind of the rows.
        key_template: the template of passages; None for that of the settings.
        keeps_ids: whether candidates that are texts carry the ids from their rows: see
            :mod:`~llm_embedder_data.rows.schema.identified_texts`.

    Raises:
        ConfigError: the source is streamed.
    """
    if source.streaming:
        raise ConfigError(
            f"dataset {source.name!r}: streamed rows cannot be read one by one (leave out "
            "streaming, so that the files are fetched whole)"
        )
    template = settings.key_template if key_template is None else key_template
    options: dict[str, Any] = {
        **source.reader_options,
        **{name: _as_list(columns) for name, columns in source.fields.items()},
        "format": None if source.format == "auto" else source.format,
        "data_root": settings.data_root,
        "cache_dir": settings.cache_folder,
        "on_bad_row": settings.on_bad_row,
        "key_template": unless_default(template),
    }
    return RowReader(_places_of(source), kind=kind, keeps_ids=keeps_ids, **options)


def _places_of(source: Source) -> Any:
    """Return all files of a source as one place, so that the corpus they share is read once."""
    if source.data is not None:
        return Place(name=source.files[0], data=source.data)
    files = tuple(file for file in source.files if not os.path.isdir(file))
    places: list[Any] = [file for file in source.files if os.path.isdir(file)]
    if files:
        name = files[0] if len(files) == 1 else source.name
        places.append(Place(name=name, files=files))
    return places


def _as_list(columns: str | tuple[str, ...]) -> str | list[str]:
    return columns if isinstance(columns, str) else list(columns)
