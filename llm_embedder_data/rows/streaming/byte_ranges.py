"""Reads byte ranges of remote files, and tries again if a connection fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from llm_embedder_data.core.errors import DataError, PrintableError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.sources.fetched_files import cannot_be_fetched, filesystem_of

# Seconds to wait before each further attempt; long enough for a server to restart in a minute.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

# The names under which file systems report a file's version, the most reliable first.
_VERSIONS = (
    *("ETag", "etag", "md5Hash", "blob_id", "xet_hash"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "created"),
)

# The maximum size of a request: on a slow connection, a larger one could run into a timeout.
_ASKED_BYTES = 16 << 20

# HTTP statuses of a server that may answer later.
_BUSY = (408, 425, 429)

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class FileState(NamedTuple):
    """The size and version of a remote file, which are known without reading it.

    Attributes:
        size: the size in bytes.
        version: an ETag or a modification time; empty if the server reports neither.
    """

    size: int
    version: str


class RemoteFile:
    """A remote file.

    Args:
        address: an address that fsspec opens, such as ``s3://bucket/train.parquet``; or a path.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def state(self, *, anew: bool = False) -> FileState:
        """Return the size and version of the file.

        Args:
            anew: whether to ask the server even if fsspec has cached a listing of the folder.

        Raises:
            ConfigError: the package that opens such addresses is not installed.
            DataError: there is no such file, it cannot be reached, or its server does not report
                its size.
        """
        info = self._patiently(_info_anew if anew else _info)
        size = info.get("size")
        if not isinstance(size, int):
            raise DataError.at(
                one_line(self.address),
                "its server does not say how large it is, so it cannot be streamed (fetch it "
                "whole: leave out streaming)",
            )
        version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
        return FileState(size, version)

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to, but not including, ``end``.

        Raises:
            ConfigError: the package that opens such addresses is not installed.
            DataError: the bytes cannot be read after several attempts, the file has become shorter,
                or its server cannot send parts of a file.
        """

        starts = range(start, end, _ASKED_BYTES)
        return b"".join(self._read(at, min(at + _ASKED_BYTES, end)) for at in starts)

    def _read(self, start: int, end: int) -> bytes:
        def whole(filesystem: Any, path: str) -> bytes:
            content: bytes = filesystem.cat_file(path, start=start, end=end)
            if len(content) > end - start:
                raise DataError.at(
                    one_line(self.address),
                    "its server sends the whole file where a part is asked for, so it cannot be "
                    "streamed (fetch it whole: leave out streaming)",
                )
            if len(content) < end - start:
                size = _info_anew(filesystem, path).get("size")
                if isinstance(size, int) and size < end:
                    raise DataError.at(
                        one_line(self.address),
                        f"has changed: it has {size:,} bytes now (start again: the new file is "
                        "indexed then)",
                    )
                raise ConnectionError(f"{len(content):,} of {end - start:,} bytes came")
            return content

        return self._patiently(whole)

    def _patiently(self, ask: Callable[[Any, str], Answer]) -> Answer:
        """Return ``ask(filesystem, path)``; try again after errors that may be temporary."""
        for wait in WAITS:
            try:
                return self._asked(ask)
            except DataError as error:
                if error.__cause__ is None or _is_final(error.__cause__):
                    raise
                _log.warning("%s; asking again in %g s", error, wait)
            time.sleep(wait)
        return self._asked(ask)

    def _asked(self, ask: Callable[[Any, str], Answer]) -> Answer:
        try:
            return ask(*filesystem_of(self.address, "path"))
        except PrintableError:
            raise
        except Exception as error:  # each protocol raises different errors
            raise cannot_be_fetched(self.address, error) from error


def _info(filesystem: Any, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = filesystem.info(path)
    return found


def _info_anew(filesystem: Any, path: str) -> Mapping[str, Any]:
    filesystem.invalidate_cache()
    return _info(filesystem, path)


def _is_final(error: BaseException) -> bool:
    """Return whether asking again would give the same error."""
    if isinstance(error, PermissionError):
        return True
    if isinstance(error, FileNotFoundError):
        # fsspec raises FileNotFoundError for any failed request to an HTTP server about a file.
        return error.__cause__ is None or _is_final(error.__cause__)
    status = _http_status(error)
    return isinstance(status, int) and 400 <= status < 500 and status not in _BUSY


def _http_status(error: BaseException) -> Any:
    """Return the HTTP status that an error of aiohttp, botocore or the Hugging Face hub has."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "status", getattr(response, "status_code", None))
