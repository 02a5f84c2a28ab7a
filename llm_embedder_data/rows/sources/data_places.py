"""The places of rows: files, a folder or data in memory, each with the settings of its source."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llm_embedder_data.core.addresses import is_address
from llm_embedder_data.core.errors import ConfigError, DataError, did_you_mean
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.records.memory_records import is_data, is_dataset_dict
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.sources.fetched_files import fetched
from llm_embedder_data.rows.sources.folder_files import FolderFiles, matches_of
from llm_embedder_data.rows.sources.path_prefixes import HUB_NAME, without_prefix

# The settings that a source may have, besides its path.
SETTINGS = (
    *("format", "corpus", "queries", "qrels", "negatives", "scores", "split", "prefix", "config"),
    *("miner", "threshold", "key_template", "on_bad_row", "data_root", "cache_dir"),
    *("task", "task_description", "weight", "batch_size", "in_batch_negatives", "max_sample_num"),
)
# Canonical fields that may have another name in the files.
FIELDS = (
    *("query", "pos", "neg", "candidates", "history", "teacher_scores", "query_id"),
    *("instruction", "key_instruction", "relevant", "id", "text", "title", "label", "score"),
    *("answers", "context"),  # a teacher may read these
)

_SPLIT = re.compile(
    r"(?:^|[-_.])(train|training|test|dev|valid|validation|val|eval)(?=[-_.]|$)", re.IGNORECASE
)
_SAME_SPLIT = {"training": "train", "valid": "dev", "validation": "dev", "val": "dev"}
_IN_ORDER: dict[Kind, tuple[str, ...]] = {
    "train": ("train",),
    "eval": ("test", "dev", "eval"),
    "corpus": ("train", "test", "dev", "eval"),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Files, a folder or data in memory that hold rows of a source.

    Attributes:
        name: the path as the user gave it, or the setting; for messages.
        files: the paths of the files; empty if ``folder`` or ``data`` is set.
        folder: a folder that is a dataset as a whole.
        data: data in memory.
        left_out: what a pattern matches and is not read, with the reason.
        settings: the settings of the source.
    """

    name: str
    files: tuple[str, ...] = ()
    folder: Path | None = None
    data: Any = None
    left_out: Mapping[Path, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def places_of(
    source: Any, kind: Kind, settings: Mapping[str, Any], where: str = "source"
) -> Iterator[Place]:
    """Yield the places that a source names, in the user's order.

    Args:
        source: a path, pattern, folder or address; a list of sources; a mapping with ``path`` and
            settings, or of names to sources; data in memory; or a place.
        kind: the kind of the rows; it decides which of several splits is read.
        settings: settings of the whole source; those in a mapping take precedence.
        where: the name of the setting, for messages.

    Raises:
        ConfigError: the source is something else, or has an unknown setting.
        DataError: a path does not exist.
    """
    if isinstance(source, Place):
        yield replace(source, settings={**settings, **source.settings})
    elif is_data(source):
        yield Place(name=where, data=source, settings=settings)
    elif is_dataset_dict(source):
        split = chosen_split(list(source), kind, settings.get("split"), where)
        yield from places_of(source[split], kind, settings, f"{where}[{split!r}]")
    elif isinstance(source, str | os.PathLike):
        yield from _of_path(os.fspath(source), kind, settings, where)
    elif isinstance(source, Mapping) and "path" in source:
        given = {name: value for name, value in source.items() if name != "path"}
        check_settings(given, where)
        if source["path"] is None:
            raise ConfigError(f"{where}: no path (name the file or files to read)")
        yield from places_of(source["path"], kind, {**settings, **given}, where)
    elif isinstance(source, Mapping):
        for name, entry in source.items():
            if entry is None:
                raise ConfigError(f"{where}.{name}: no source (give a path, or take it out)")
            yield from places_of(entry, kind, settings, f"{where}.{one_line(str(name))}")
    elif isinstance(source, Sequence) and not isinstance(source, bytes):
        if not source:
            raise ConfigError(f"{where}: an empty list (name at least one file)")
        for number, entry in enumerate(source):
            yield from places_of(entry, kind, settings, f"{where}[{number}]")
    else:
        raise ConfigError(
            f"{where}={one_line(repr(source))[:80]}: expected a path, a list of them, a mapping "
            "with the key 'path', or data: a Dataset, a DataFrame, an Arrow table, a list of dicts"
        )


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Check that all names are settings of a source.

    Raises:
        ConfigError: a name is not; the message suggests the nearest setting.
    """
    allowed = ["path", *SETTINGS, *FIELDS]
    for name in settings:
        if name not in allowed:
            raise ConfigError(
                f"{where}: unknown setting {name!r}, expected one of "
                f"{', '.join(allowed)}{did_you_mean(name, allowed)}"
            )


def chosen_split(names: Sequence[str], kind: Kind, given: str | None, where: str) -> str:
    """Return the split to read: the given one; else ``train``, or ``test`` or ``dev`` for eval.

    Args:
        names: the splits that there are. A single split is read whatever its name is.
        kind: the kind of the rows.
        given: the user's choice, or None.
        where: the source, for messages.

    Raises:
        ConfigError: the given split does not exist, or none of several splits has a usual name.
    """
    if given is not None:
        if given not in names:
            raise ConfigError(
                f"split={given!r}: {one_line(where)} has {', '.join(map(str, names))}"
                f"{did_you_mean(given, names)}"
            )
        return given
    if len(names) == 1:
        return names[0]
    usual = {_SAME_SPLIT.get(name.lower(), name.lower()): name for name in names}
    for name in _IN_ORDER[kind]:
        if name in usual:
            return usual[name]
    raise ConfigError(
        f"{one_line(where)} has the splits {', '.join(map(str, names))} (give split: one of them)"
    )


def of_split(found: FolderFiles, folder: Path, kind: Kind, split: str | None) -> FolderFiles:
    """Return the files of a split, if their names say which split they are of; else all files.

    Training reads the files of ``train`` and those that name no split. Evaluation reads the files
    of ``test``, or else of ``dev``, or else those that name no split.

    Args:
        found: the files.
        folder: the folder that holds them.
        kind: the kind of the rows.
        split: the user's choice, or None.

    Raises:
        ConfigError: no file is of the given split.
    """
    splits: dict[str | None, list[Path]] = {}
    for path in found.files:
        match = _SPLIT.search(str(path.relative_to(folder)).replace(os.sep, "_"))
        name = None if match is None else match[1].lower()
        splits.setdefault(_SAME_SPLIT.get(name or "", name), []).append(path)
    named = [name for name in splits if name is not None]
    kept: Iterable[Path] = found.files
    if split is not None:
        wanted = _SAME_SPLIT.get(split.lower(), split.lower())
        if named and wanted not in splits:
            raise ConfigError(f"split={split!r}: {folder} has {', '.join(sorted(named))}")
        kept = splits.get(wanted, kept)
    elif kind != "corpus":
        of_kind = next((splits[name] for name in _IN_ORDER[kind] if name in splits), [])
        without = splits.get(None, [])
        kept = ([*of_kind, *without] if kind == "train" else of_kind or without) or kept
    return found.only(sorted(kept), "of another split")


def _of_path(path: str, kind: Kind, settings: Mapping[str, Any], where: str) -> Iterator[Place]:
    found = without_prefix(path, where, settings.get("data_root"))
    if is_address(found):
        cache = settings.get("cache_dir")
        kept = fetched(found, Path(cache) if cache else cache_folder(), where)
        if all(map(os.path.isfile, kept)):
            yield Place(name=path, files=tuple(kept), settings=settings)
        else:
            for folder in kept:
                yield from _of_folder(Path(folder), kind, settings, path)
        return
    yield from _on_this_machine(
        os.path.abspath(os.path.expanduser(found)), path, kind, settings, where
    )


def _on_this_machine(
    found: str, shown: str, kind: Kind, settings: Mapping[str, Any], where: str
) -> Iterator[Place]:
    if os.path.isfile(found):
        yield Place(name=shown, files=(found,), settings=settings)
    elif os.path.isdir(found):
        yield from _of_folder(Path(found), kind, settings, shown)
    elif glob.has_magic(found):
        matches = matches_of(found)
        if not matches.files:
            raise DataError.at(
                found, f"the pattern matches no file ({where}={shown!r}; correct the pattern)"
            )
        if matches.files[0].is_file():
            files = tuple(map(str, matches.files))
            yield Place(name=shown, files=files, left_out=matches.left_out, settings=settings)
        else:
            for folder in matches.files:
                yield from _of_folder(folder, kind, settings, str(folder))
    else:
        hub = ""
        if HUB_NAME.fullmatch(shown) and not Path(shown).suffix:
            hub = f"; a dataset of the Hugging Face hub is written hf://datasets/{shown}"
        raise DataError.at(
            found, f"there is no such file ({where}={shown!r}; correct the path{hub})"
        )


def _of_folder(
    folder: Path, kind: Kind, settings: Mapping[str, Any], shown: str
) -> Iterator[Place]:
    """Yield the place of a folder; for a folder of ``save_to_disk``, that of its data files."""
    if (folder / "dataset_dict.json").is_file():
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if not names:
            raise DataError.at(str(folder), "the DatasetDict has no split (save it again)")
        folder = folder / chosen_split(names, kind, settings.get("split"), str(folder))
    state = folder / "state.json"
    if state.is_file() and (folder / "dataset_info.json").is_file():
        try:
            names = [entry["filename"] for entry in json.loads(state.read_bytes())["_data_files"]]
            files = tuple(str(folder / Path(name).name) for name in names)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError.at(str(state), f"cannot be read: {error!r} (save it again)") from error
        yield Place(name=shown, files=files, settings=settings)
        return
    yield Place(name=shown, folder=folder, settings=settings)
