"""Files behind addresses (``https://``, ``s3://``, ``hf://``), fetched once into the cache."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import atomic_file, locked
from llm_embedder_data.core.printable import one_line

# s3://, hf://, https://, ...: at least two letters, as C:// is a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

# What opens addresses of a kind, where the package is another than fsspec.
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
_COPIED_BYTES = 1 << 20

_log = logging.getLogger(__name__)


def is_address(path: str) -> bool:
    """Whether a path is an address with a protocol, which fsspec opens."""
    return _ADDRESS.match(path) is not None


def fetched(address: str, cache_dir: Path, where: str = "path") -> Path:
    """Fetch a file, or all files of a folder, once; later calls find them in the cache.

    Each file lies there with a record of its address, size and digest (XXH3, 128 bits). A file
    whose size is not the recorded one is fetched again.

    Args:
        address: such as ``s3://bucket/train.jsonl``; a folder, or a pattern, gives a folder.
        cache_dir: files go into its folder ``fetched``.
        where: the setting, for messages.

    Raises:
        ConfigError: no package opens such addresses.
        DataError: there is nothing at the address, or it cannot be fetched or kept.
    """
    key = xxhash.xxh3_128_hexdigest(address.encode())
    folder = cache_dir / "fetched" / key
    listing = folder / "files.json"
    known = _read(listing)
    if known is not None and all(_is_whole(folder / name, known[name]) for name in known):
        return _result(folder, known)
    files, filesystem = remote_files(address, where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(listing):
            known = _read(listing)  # of a process that was quicker
            if known is not None and all(_is_whole(folder / name, known[name]) for name in known):
                return _result(folder, known)
            found: dict[str, Any] = {}
            for remote, name in files.items():
                target = folder / "content" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                digest, size = _copy(filesystem, remote, target, address)
                found[f"content/{name}"] = {"address": remote, "size": size, "digest": digest}
            with atomic_file(listing) as file:
                file.write(json.dumps({"address": address, "files": found}, indent=1).encode())
    except OSError as error:
        raise DataError.at(
            str(folder), f"{one_line(address)} cannot be kept: {reason(error)} ({remedy(error)})"
        ) from error
    return _result(folder, found)


def _result(folder: Path, files: Mapping[str, Any]) -> Path:
    names = list(files)
    is_one = len(names) == 1 and "/" not in names[0].removeprefix("content/")
    return folder / names[0] if is_one else folder / "content"


def _read(listing: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(listing.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) and found else None


def _is_whole(path: Path, entry: Any) -> bool:
    try:
        return bool(path.stat().st_size == entry["size"])
    except (OSError, KeyError, TypeError):
        return False


def filesystem_of(address: str, where: str) -> tuple[Any, str]:
    """Return what opens an address, and the path that it knows the file or files by.

    Args:
        address: with a protocol, or a path on this machine.
        where: the setting, for messages.

    Raises:
        ConfigError: no package opens such addresses.
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


def remote_files(address: str, where: str) -> tuple[dict[str, str], Any]:
    """Return the files at an address, each with its name in the cache, and what opens them.

    Args:
        address: of a file, or of a folder or pattern.
        where: the setting, for messages.

    Raises:
        ConfigError: no package opens such addresses.
        DataError: there is nothing at the address, or it cannot be reached.
    """
    filesystem, path = filesystem_of(address, where)
    protocol = address.partition("://")[0].lower()
    if protocol in ("http", "https"):
        return {path: _name_of(path)}, filesystem
    try:
        if any(mark in path for mark in "*?["):
            paths = [found for found in filesystem.glob(path) if filesystem.isfile(found)]
            base = path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        elif filesystem.isfile(path):
            return {path: _name_of(path)}, filesystem
        else:
            paths, base = filesystem.find(path), path
    except Exception as error:  # each protocol has errors of its own
        raise cannot_be_fetched(address, error) from error
    files = {found: _relative(found, base) for found in sorted(paths)}
    files = {found: name for found, name in files.items() if not _NO_ROWS.search(name)}
    if not files:
        raise DataError.at(one_line(address), "there is nothing at this address (correct it)")
    return files, filesystem


def _name_of(path: str) -> str:
    """A name for the file on this machine, with the address's own ending."""
    name = PurePosixPath(path.split("?")[0].split("#")[0].rstrip("/")).name
    return re.sub(r"[^\w.-]", "_", name)[-120:].lstrip(".") or "data"


def _relative(path: str, base: str) -> str:
    base = base.strip("/")
    inner = path.strip("/").removeprefix(base).strip("/") if base else path.strip("/")
    parts = [re.sub(r"[^\w.=-]", "_", part) for part in inner.split("/")]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or _name_of(path)


def _copy(filesystem: Any, remote: str, target: Path, address: str) -> tuple[str, int]:
    """Copy a file; its digest and size."""
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
    """Return the error for an address that fsspec could not read."""
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
        one_line(address), f"cannot be fetched: {said} (is the network there, and are you let in?)"
    )


def forget(address: str, cache_dir: Path) -> None:
    """Delete what was fetched from an address, so that the next call fetches it anew."""
    key = xxhash.xxh3_128_hexdigest(address.encode())
    with suppress(OSError):
        shutil.rmtree(cache_dir / "fetched" / key)
