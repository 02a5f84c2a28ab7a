"""Resolves the path of a source to files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_embedder_data.core.addresses import is_address
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.files.file_formats import ENDINGS, plain_suffix
from llm_embedder_data.rows.formats.detection import format_of_folder
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.sources.data_places import of_split
from llm_embedder_data.rows.sources.fetched_files import fetched, remote_files
from llm_embedder_data.rows.sources.folder_files import (
    TEXT_ENDINGS,
    FolderFiles,
    counts_of_left_out,
    files_in,
    is_saved_dataset,
    matches_of,
)
from llm_embedder_data.rows.sources.path_prefixes import HUB_NAME, without_prefix


@dataclass(frozen=True, slots=True)
class SourcePaths:
    """The files of a source.

    Attributes:
        paths: the absolute paths of files, and of folders that are a dataset as a whole.
        notes: what is left out of the folders and patterns that the user named, a line each.
    """

    paths: list[str]
    notes: list[str]

    @classmethod
    def of(cls, found: FolderFiles, place: str) -> SourcePaths:
        """Return the files that were found in a folder or with a pattern."""
        root = place if os.path.isdir(place) else os.path.dirname(place)
        left_out = _in_words(found, root)
        note = f"{one_line(place)}: not read: {left_out} (to read these too, name them)"
        return cls(list(map(str, found.files)), [note] if left_out else [])

    def __add__(self, other: SourcePaths) -> SourcePaths:
        return SourcePaths(self.paths + other.paths, self.notes + other.notes)


def paths_of(
    path: Any,
    where: str,
    data_root: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    kind: Kind | None = None,
    folder_is_one: bool = False,
) -> SourcePaths:
    """Return the absolute paths of the files of a path or a list of paths, in order.

    A folder that is a dataset as a whole, such as BEIR's, is returned instead of its files.

    Args:
        path: a file, a folder, a glob, an address, or a list of these.
        where: the name of the setting, for messages.
        data_root: the folder that the prefix ``llm-embedder:`` stands for.
        cache_dir: where fetched files are kept: see
            :func:`~llm_embedder_data.rows.settings.cache_folder.cache_folder`.
        kind: the kind of the rows; it decides which of several splits of a folder is read. None
            reads all.
        folder_is_one: whether every folder is a dataset as a whole.

    Raises:
        ConfigError: the setting is not a path.
        DataError: a file does not exist, or a folder holds no data file.
    """
    paths = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    found = SourcePaths([], [])
    for listed in paths:
        if not isinstance(listed, str | os.PathLike):
            raise ConfigError(f"{where}: {listed!r} is not a path")
        given = os.fspath(listed)
        path_or_address = without_prefix(given, where, data_root)
        if is_address(path_or_address):
            for kept in fetched(path_or_address, cache_folder(cache_dir), where):
                # A data set of the hub has its files in folders of splits or configurations.
                is_one = folder_is_one or (os.path.isdir(kept) and _is_of_folders(Path(kept)))
                found += _paths_of_one(kept, given, where, is_one, kind)
        else:
            path_here = _absolute(path_or_address)
            found += _paths_of_one(path_here, given, where, folder_is_one, kind)
    if not found.paths:
        raise ConfigError(f"{where}: an empty list (name at least one file, or give null)")
    return found


def addresses_of(
    path: Any, where: str, data_root: str | os.PathLike[str] | None = None
) -> list[str]:
    """Return the addresses of the files of a streamed source, in order.

    Args:
        path: the address or path of a file or folder, a pattern, or a list of these.
        where: the name of the setting, for messages.
        data_root: the folder that the prefix ``llm-embedder:`` stands for.

    Raises:
        ConfigError: the setting is not a path, or the package that opens such addresses is not
            installed.
        DataError: there is no such file.
    """
    given = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    found: list[str] = []
    for listed in given:
        if not isinstance(listed, str | os.PathLike):
            raise ConfigError(f"{where}: {listed!r} is not a path, and only files are streamed")
        address = without_prefix(os.fspath(listed), where, data_root)
        if not is_address(address):
            address = _absolute(address)
        remote = remote_files(address, where)
        named = map(remote.filesystem.unstrip_protocol, remote.files)
        found += [file.removeprefix("file://") for file in named]
    if not found:
        raise ConfigError(f"{where}: an empty list (name at least one file)")
    return found


def _paths_of_one(
    path: str, given: str, where: str, folder_is_one: bool, kind: Kind | None
) -> SourcePaths:
    if os.path.isfile(path):
        return SourcePaths([path], [])
    if os.path.isdir(path):
        is_one = folder_is_one or format_of_folder(Path(path)) is not None
        return SourcePaths([path], []) if is_one else _files_of_folder(path, where, kind)
    if glob.has_magic(path):
        matches = matches_of(path)
        if not matches.files:
            raise DataError.at(
                path, f"the pattern matches no file ({where}={given!r}; correct the pattern)"
            )
        if matches.files[0].is_file():
            return SourcePaths.of(matches, path)
        found = SourcePaths([], [])
        for folder in matches.files:
            found += _paths_of_one(str(folder), given, where, folder_is_one, kind)
        return found
    hub = ""
    if HUB_NAME.fullmatch(given) and not plain_suffix(given):
        hub = f"; a dataset of the Hugging Face hub is written hf://datasets/{given}"
    raise DataError.at(path, f"there is no such file ({where}={given!r}; correct the path{hub})")


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _files_of_folder(path: str, where: str, kind: Kind | None) -> SourcePaths:
    """Return the files of a folder; or the folder itself, if ``save_to_disk`` wrote it."""
    folder = Path(path)
    if is_saved_dataset(folder):
        return SourcePaths([path], [])
    found = files_in(folder)
    if not found.files:
        left_out = f"; left out: {words}" if (words := _in_words(found, path)) else ""
        raise DataError.at(
            path,
            f"the folder holds no data file{left_out} ({where}; "
            f"{', '.join((*ENDINGS, *TEXT_ENDINGS))})",
        )
    if all(file.is_relative_to(folder / "data") for file in found.files):
        return SourcePaths([path], [])  # a copy of a dataset of the hub, whose name is the folder's
    found = found.of_one_kind()
    return SourcePaths.of(found if kind is None else of_split(found, folder, kind, None), path)


def _is_of_folders(folder: Path) -> bool:
    """Return whether the files of a folder are in folders below it."""
    return any(path.parent != folder for path in files_in(folder).files)


def _in_words(found: FolderFiles, root: str) -> str:
    counts = counts_of_left_out(found.left_out, root)
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())
