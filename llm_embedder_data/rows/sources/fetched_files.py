"""Fetches files at addresses (``https://``, ``s3://``, ``hf://``) into the cache, once."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import xxhash

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import atomic_file, locked
from llm_embedder_data.core.printable import one_line

# The package that opens addresses of a protocol, if fsspec alone cannot.
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "huggingface_hub",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
}
# Files of a folder that hold no rows.
_NO_ROWS = re.compile(r"(^|/)(\.|LICENSE)|\.(py|lock|png|jpg|pdf)$", re.IGNORECASE)
# Characters that are escaped in the names of fetched files.
_PLAIN = re.compile(r"[^\w.=,+@ -]")

_COPIED_BYTES = 1 << 20

# Part of the name of the cache folder of an address. Raise it when the folder's layout changes.
_VERSION = 1
_LISTING = "files.json"

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """What is at an address.

    Attributes:
        filesystem: the fsspec filesystem that opens the address.
        paths: the file, the folder, or what the pattern matches.
        files: all files at or below these paths, sorted.
    """

    filesystem: Any
    paths: tuple[str, ...]
    files: tuple[str, ...]


def fetched(address: str, cache_dir: Path, where: str = "path") -> list[str]:
    """Fetch a file, or all files of a folder, once; later calls find them in the cache.

    A listing in the cache holds the address, size and digest (XXH3, 128 bits) of each file. The
    cache has folders with the names of those in the address, because datasets are named after
    folders. All files are fetched again if the size of a file is not the recorded size.

    Args:
        address: the address of a file, such as ``s3://bucket/train.jsonl``, or of a folder, or a
            pattern.
        cache_dir: the folder of caches; files go into its folder ``fetched``.
        where: the name of the setting, for messages.

    Returns:
        The paths on this machine of the file, the folder, or what the pattern matches.

    Raises:
        ConfigError: the package that opens such addresses is not installed.
        DataError: there is nothing at the address, or it cannot be fetched or written.
    """
    key = xxhash.xxh3_128_hexdigest(repr((_VERSION, address)).encode())
    folder = cache_dir / "fetched" / key
    kept = _kept(folder)
    if kept is not None:
        return kept
    found = remote_files(address, where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LISTING):
            kept = _kept(folder)  # another process may have fetched the files meanwhile
            if kept is None:
                _fetch(found, folder, address)
                kept = _kept(folder)
    except OSError as error:
        raise DataError.at(
            str(folder), f"{one_line(address)} cannot be kept: {reason(error)} ({remedy(error)})"
        ) from error
    if kept is None:
        raise DataError.at(str(folder), "fetched files are missing (is the disk sound?)")
    return kept


def _fetch(found: Found, folder: Path, address: str) -> None:
    files: dict[str, Any] = {}
    for remote in found.files:
        name = _name_of(remote)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, size = _copy(found.filesystem, remote, target, address)
        files[name] = {"address": remote, "size": size, "digest": digest}
    listing = {"address": address, "paths": list(map(_name_of, found.paths)), "files": files}
    with atomic_file(folder / _LISTING) as file:
        file.write(json.dumps(listing, indent=1).encode())


def _kept(folder: Path) -> list[str] | None:
    """Return the paths that were fetched into a folder; None if a file is missing or damaged."""
    listing = _read(folder / _LISTING)
    if listing is None or not all(
        _is_whole(folder / name, entry) for name, entry in listing["files"].items()
    ):
        return None
    return [str(folder / name) for name in listing["paths"]]


def _read(listing: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(listing.read_bytes())
        return found if found["files"].items() and found["paths"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(path: Path, entry: Any) -> bool:
    try:
        return bool(path.stat().st_size == entry["size"])
    except (OSError, KeyError, TypeError):
        return False


def filesystem_of(address: str, where: str) -> tuple[Any, str]:
    """Return the fsspec filesystem that opens an address, and the address's path in it.

    Args:
        address: an address with a protocol, or a path on this machine.
        where: the name of the setting, for messages.

    Raises:
        ConfigError: the package that opens such addresses is not installed.
    """
    protocol = address.partition("://")[0].lower()
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(address)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        hint = f"pip install {package}" if package else str(error)
        raise ConfigError(
            f"{where}={one_line(address)}: {protocol}:// needs the package "
            f"{package or 'of that protocol'} ({hint})"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{where}={one_line(address)}: nothing here opens {protocol}:// ({error})"
        ) from error
    return filesystem, path


def remote_files(address: str, where: str) -> Found:
    """Return the files that are at an address now.

    Args:
        address: the address of a file or folder, or a pattern.
        where: the name of the setting, for messages.

    Raises:
        ConfigError: the package that opens such addresses is not installed.
        DataError: there is nothing at the address, or it cannot be reached.
    """
    filesystem, path = filesystem_of(address, where)
    if address.partition("://")[0].lower() in ("http", "https"):
        return Found(filesystem, (path,), (path,))
    try:
        filesystem.invalidate_cache()  # fsspec remembers earlier listings of this process
        mark = re.search(r"[*?\[]", path)
        if mark is None and filesystem.isfile(path):
            return Found(filesystem, (path,), (path,))
        paths = [path.rstrip("/")] if mark is None else _matches(filesystem, path)
        base = path if mark is None else path[: mark.start()].rpartition("/")[0]
        files = sorted({file for found in paths for file in filesystem.find(found)})
    except Exception as error:  # each protocol raises different errors
        raise cannot_be_fetched(address, error) from error
    # In buckets, a key that ends with a slash stands for an empty folder.
    files = [f for f in files if not f.endswith("/") and not _NO_ROWS.search(_below(f, base))]
    kept = [path for path in paths if any(f == path or f.startswith(f"{path}/") for f in files)]
    if not kept:
        raise DataError.at(one_line(address), "there is nothing at this address (correct it)")
    return Found(filesystem, tuple(kept), tuple(files))


def _matches(filesystem: Any, pattern: str) -> list[str]:
    """Return the files that a pattern matches; if there are none, the folders."""
    found = filesystem.glob(pattern, detail=True)
    files = [path for path, info in found.items() if info["type"] == "file" and path[-1] != "/"]
    return sorted(files or found)


def _below(path: str, base: str) -> str:
    return path.strip("/").removeprefix(base.strip("/")).strip("/")


def _name_of(path: str) -> str:
    """Return the path of a file or folder in the cache: its remote path, valid on any disk."""
    if "://" in path:
        path = re.split(r"[?#]", path.partition("://")[2])[0]
    parts = [_PLAIN.sub(lambda found: quote(found[0], safe=""), part) for part in path.split("/")]
    parts = [
        part if len(part) <= 120 else f"{xxhash.xxh32_hexdigest(part.encode())}-{part[-100:]}"
        for part in parts
        if part not in ("", ".", "..")
    ]
    return "/".join(["content", *(parts or ["data"])])


def _copy(filesystem: Any, remote: str, target: Path, address: str) -> tuple[str, int]:
    """Copy a file; return its digest and its size in bytes."""
    hashed, size = xxhash.xxh3_128(), 0
    _log.info("Fetching %s", one_line(remote))
    with atomic_file(target) as into:
        try:
            source = filesystem.open(remote, "rb")
        except Exception as error:
            raise cannot_be_fetched(address, error) from error
        with source:
            while True:
                try:
                    part = source.read(_COPIED_BYTES)
                except Exception as error:
                    raise cannot_be_fetched(address, error) from error
                if not part:
                    break
                hashed.update(part)
                into.write(part)
                size += len(part)
    return hashed.hexdigest(), size


def cannot_be_fetched(address: str, error: Exception) -> DataError:
    """Return the error to raise for an address that fsspec could not read."""
    cause = error.__cause__
    if (
        isinstance(error, FileNotFoundError)
        and getattr(cause, "status", 404) == 404
        and not (
            isinstance(cause, OSError)  # a server that does not answer
        )
    ):
        return DataError.at(one_line(address), "there is nothing at this address (correct it)")
    said = one_line(str(cause or error)) or type(error).__name__
    return DataError.at(
        one_line(address),
        f"cannot be fetched: {said} (check the network, and that you may read the address)",
    )
