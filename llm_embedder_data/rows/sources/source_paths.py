"""Resolves the path of a source to files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_embedder_data.core.addresses import is_address
from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.files.file_formats import ENDINGS, plain_suffix
from llm_embedder_data.rows.formats.detection import format_of_folder
from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.sources.data_places import of_split
from llm_embedder_data.rows.sources.fetched_files import fetched, remote_files
from llm_embedder_data.rows.sources.path_prefixes import HUB_NAME, without_prefix

# Endings of text tables. They are only read from a folder that has no other data files.
_TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".trec", ".qrels", ".run")


def paths_of(
    path: Any,
    where: str,
    data_root: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    folder_is_one: bool = False,
    kind: Kind | None = None,
) -> list[str]:
    """Return the absolute paths of the files of a path or a list of paths, in order.

    A folder that is a dataset as a whole, such as BEIR's, is returned instead of its files.

    Args:
        path: a file, a folder, a glob, an address, or a list of these.
        where: the name of the setting, for messages.
        data_root: the folder that the prefix ``llm-embedder:`` stands for.
        cache_dir: where fetched files are kept: see
            :func:`~llm_embedder_data.rows.settings.cache_folder.cache_folder`.
        folder_is_one: whether every folder is a dataset as a whole.
        kind: the kind of rows to read. Of a folder whose files are named by splits, only the files
            of the split for these rows are returned, see :func:`.of_split`; None: all files.

    Raises:
        ConfigError: the setting is not a path.
        DataError: a file does not exist, or a folder holds no data file.
    """
    paths = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    found: list[str] = []
    for listed in paths:
        if not isinstance(listed, str | os.PathLike):
            raise ConfigError(f"{where}: {listed!r} is not a path")
        given = os.fspath(listed)
        path_or_address = without_prefix(given, where, data_root)
        if is_address(path_or_address):
            for kept in fetched(path_or_address, cache_folder(cache_dir), where):
                # A data set of the hub has its files in folders of splits or configurations.
                is_one = folder_is_one or (os.path.isdir(kept) and not _data_files(kept))
                found += _paths_of_one(kept, given, where, is_one, kind)
        else:
            path_here = _absolute(path_or_address)
            found += _paths_of_one(path_here, given, where, folder_is_one, kind)
    if not found:
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
) -> list[str]:
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        is_one = folder_is_one or format_of_folder(Path(path)) is not None
        return [path] if is_one else _files_of_folder(path, where, kind)
    if glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        files = [match for match in matches if os.path.isfile(match)]
        if not files:
            folders = [match for match in matches if os.path.isdir(match)]
            files = [folder for folder in folders if format_of_folder(Path(folder)) is not None]
        if not files:
            raise DataError.at(
                path, f"the pattern matches no file ({where}={given!r}; correct the pattern)"
            )
        return files
    hub = ""
    if HUB_NAME.fullmatch(given) and not plain_suffix(given):
        hub = f"; a dataset of the Hugging Face hub is written hf://datasets/{given}"
    raise DataError.at(path, f"there is no such file ({where}={given!r}; correct the path{hub})")


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _files_of_folder(folder: str, where: str, kind: Kind | None) -> list[str]:
    if _is_saved_dataset(folder):
        return [folder]
    files = _data_files(folder)
    data = os.path.join(folder, "data")
    if not files and os.path.isdir(data) and _data_files(data):
        return [folder]  # a copy of a data set of the hub, which is read as a whole
    if not files:
        raise DataError.at(
            folder,
            f"the folder holds no data file ({where}; {', '.join((*ENDINGS, *_TEXT_ENDINGS))})",
        )
    if kind is None:
        return files
    return list(map(str, of_split(list(map(Path, files)), Path(folder), kind, None)))


def _data_files(folder: str) -> list[str]:
    """Return the data files in a folder, sorted; text tables only if there are no other files."""
    entries = [
        entry
        for entry in os.scandir(folder)
        if entry.is_file() and not entry.name.startswith(".")  # glob skips these too
    ]
    found: list[str] = []
    for endings in (tuple(ENDINGS), _TEXT_ENDINGS):
        found = found or [e.path for e in entries if plain_suffix(e.name).lower() in endings]
    return sorted(found)


def _is_saved_dataset(folder: str) -> bool:
    """Return whether ``save_to_disk`` wrote a folder. Its JSON files hold no rows."""
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        return True
    names = ("state.json", "dataset_info.json")
    return all(os.path.isfile(os.path.join(folder, name)) for name in names)
