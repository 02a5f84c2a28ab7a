"""The files that the path of a source stands for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.files.file_formats import ENDINGS, plain_suffix
from llm_embedder_data.rows.package_paths import PACKAGE_PREFIX, package_path

DATA_ROOT_PREFIX = "llm-embedder:"

# s3://, hf://, https://, ...: at least two letters before the colon, as C:// is a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def files_of(path: Any, where: str, data_root: str | os.PathLike[str] | None) -> list[str]:
    """Return the files of a path or a list of paths, absolute, in order.

    Args:
        path: a file, a folder, a glob, or a list of these.
        where: the setting, for messages.
        data_root: what the prefix ``llm-embedder:`` stands for.

    Raises:
        ConfigError: the setting is not a path.
        DataError: there is no such file.
    """
    paths = path if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    files: list[str] = []
    for listed in paths:
        if not isinstance(listed, str | os.PathLike):
            raise ConfigError(f"{where}: {listed!r} is not a path")
        files += _files_of_path(os.fspath(listed), where, data_root)
    if not files:
        raise ConfigError(f"{where}: an empty list (name at least one file, or give null)")
    return files


def _files_of_path(given: str, where: str, data_root: str | os.PathLike[str] | None) -> list[str]:
    path = _absolute(given, where, data_root)
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        return _files_of_folder(path, where)
    if glob.has_magic(path):
        files = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
        if not files:
            raise DataError.at(
                path, f"the pattern matches no file ({where}={given!r}; correct the pattern)"
            )
        return files
    hub = ""
    if _HUB_NAME.fullmatch(given) and not plain_suffix(given):
        hub = (
            f"; if it is a dataset of the Hugging Face hub: hub names are not read, download it "
            f"with 'hf download {given} --repo-type dataset --local-dir DIR' and give its files"
        )
    raise DataError.at(path, f"there is no such file ({where}={given!r}; correct the path{hub})")


def _absolute(path: str, where: str, data_root: str | os.PathLike[str] | None) -> str:
    """Return the absolute path that a path with a prefix or ``~`` stands for."""
    if not path.strip():
        raise ConfigError(f"{where}={path!r}: an empty path (name a file or folder, or give null)")
    if path.startswith(DATA_ROOT_PREFIX):
        if data_root is None:
            raise ConfigError(
                f"{where}={path!r}: the prefix {DATA_ROOT_PREFIX!r} stands for data_root, which "
                "is not set (give data.data_root)"
            )
        path = os.path.join(os.fspath(data_root), path.removeprefix(DATA_ROOT_PREFIX))
    elif path.startswith(PACKAGE_PREFIX):
        path = package_path(path, where)
    elif _ADDRESS.match(path):
        raise ConfigError(
            f"{where}={path!r} is a URL, and URLs are not read (copy the files to this machine "
            "or to a mounted folder, and give that path)"
        )
    return os.path.abspath(os.path.expanduser(path))


def _files_of_folder(folder: str, where: str) -> list[str]:
    _refuse_saved_dataset(folder, where)
    files = sorted(
        entry.path
        for entry in os.scandir(folder)
        if entry.is_file()
        and not entry.name.startswith(".")  # glob skips these too
        and plain_suffix(entry.name).lower() in ENDINGS
    )
    if not files:
        raise DataError.at(folder, f"the folder holds no data file ({where}; {', '.join(ENDINGS)})")
    return files


def _refuse_saved_dataset(folder: str, where: str) -> None:
    """Refuse a folder of ``save_to_disk``, whose JSON files are not rows; name its data files."""
    if os.path.isfile(os.path.join(folder, "dataset_dict.json")):
        splits = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        raise DataError.at(
            folder,
            f"it is a DatasetDict that save_to_disk wrote, of {', '.join(splits) or 'no split'} "
            f"({where}: name the files of one, as in {{train: {folder}/{(splits or ['train'])[0]}"
            "/data-*.arrow})",
        )
    names = ("state.json", "dataset_info.json")
    if all(os.path.isfile(os.path.join(folder, name)) for name in names):
        raise DataError.at(
            folder,
            f"it is a dataset that save_to_disk wrote ({where}: name its files, as in "
            f"{{{Path(folder).name}: {folder}/data-*.arrow}})",
        )
