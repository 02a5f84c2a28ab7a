"""Sealed files: cache files that show whether they still hold the content that was written.

A sealed file ends in a seal of a few bytes: the length and digest of its content, and a hash that
also covers the file's name. In addition, its modification time is set to a time computed from the
digest; any later write changes the time. So if the time matches the seal, the file is taken to be
whole without being read. If the time differs, as in a copy, the content is read and hashed; if the
hash is right, the time is set again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.files import atomic_file, publish
from llm_embedder_data.core.platforms import sync

SEALED_SUFFIXES = (".arrow", ".bin")

# Suffix of the folder of an unfinished build, whose files are not sealed yet.
BUILDING_SUFFIX = ".building"

_MAGIC = b"\x00sealed\x01"
_FIELDS = Struct("<8sQ16s")  # magic, length of the content, digest
_CHECK_BYTES = 8  # hash of the fields and the file name
SEAL_BYTES = _FIELDS.size + _CHECK_BYTES

# The modification time of a sealed file is an even number of whole seconds, the resolution of the
# coarsest file systems. Half of it, modulo this number, comes from the digest. So another time in
# whole seconds matches with probability 1 / 2**15, and a time with a fraction never does.
_REMAINDERS = 1 << 15
_SECOND = 10**9  # ns

_HASHED_BYTES = 1 << 18  # hashed at a time; fits into the processor's cache


class HashedFile:
    """A file written from start to end, with the digest of its content.

    Args:
        file: the file to write, at its start, or right after the content that ``hashed`` covers.
        hashed: the hash of the content so far; None for an empty file.
    """

    closed = False

    def __init__(self, file: IO[bytes], hashed: Any = None) -> None:
        self._file = file
        self._hashed = xxhash.xxh3_128() if hashed is None else hashed
        self._n_bytes = file.tell()

    def write(self, content: Any) -> int:
        """Append bytes, or an object with a buffer; return the number of bytes."""
        self._hashed.update(content)
        n_bytes = memoryview(content).nbytes
        self._file.write(content)
        self._n_bytes += n_bytes
        return n_bytes

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._n_bytes

    def flush(self) -> None:
        """Hand buffered bytes to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def digest(self) -> str:
        """Return the 128-bit digest of the content, in hexadecimal."""
        return str(self._hashed.hexdigest())

    def seal(self, name: str) -> None:
        """Append the seal for a file name. Nothing may be written after it."""
        fields = _FIELDS.pack(_MAGIC, self._n_bytes, self._hashed.digest())
        self._file.write(fields + _check(fields, name))
        sync(self._file)


@contextmanager
def sealed_file(path: Path) -> Iterator[HashedFile]:
    """Open a file that appears under its name, sealed, when the block ends without an error.

    Raises:
        OSError: see :func:`~llm_embedder_data.core.files.atomic_file`.
    """
    with atomic_file(path, is_the_same=is_whole) as file:
        hashed = HashedFile(file)
        yield hashed
        hashed.seal(path.name)
    _set_time(path, hashed.digest())


def publish_sealed(part: Path, file: HashedFile, path: Path) -> None:
    """Seal and close a file that was written under another name, and rename it.

    Raises:
        OSError: the folder cannot be written, the disk is full, or a folder has that name.
    """
    file.seal(path.name)
    file.close()
    publish(part, path, is_whole)
    _set_time(path, file.digest())


def is_whole(path: Path, *, in_full: bool = False) -> bool:
    """Return whether a sealed file exists and holds what was written under its name.

    Args:
        path: the file.
        in_full: hash the content even if seal and modification time agree.
    """
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):  # opening a pipe would block
            return False
        with open(path, "rb") as file:
            seal = _read_seal(file, path.name, state.st_size)
            if seal is None:
                return False
            has_right_time = _is_time_of(state.st_mtime_ns, seal.digest)
            if has_right_time and not in_full:
                return True
            file.seek(0)
            if hash_of(file, seal.length).hexdigest() != seal.digest:
                return False
        if not has_right_time:
            _set_time(path, seal.digest)
        return True
    except OSError:  # unreadable: the caller makes the file again, or fails with the reason there
        return False


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return the memory-mapped content of a sealed file; no file descriptor stays open.

    Raises:
        OSError: the file cannot be read, or the system's limit of mapped files is reached.
    """
    with pa.memory_map(str(path)) as file:
        content = np.frombuffer(file.read_buffer(), np.uint8)
    return content[: len(content) - SEAL_BYTES]


def hash_of(file: IO[bytes], n_bytes: int) -> Any:
    """Return the xxhash object of the next ``n_bytes`` of a file, or fewer if the file ends."""
    hashed = xxhash.xxh3_128()
    while n_bytes > 0 and (block := file.read(min(n_bytes, _HASHED_BYTES))):
        hashed.update(block)
        n_bytes -= len(block)
    return hashed


# --------------------------------------------------------------------------------------------------


class _Seal(NamedTuple):
    length: int  # of the content, in bytes
    digest: str


def _read_seal(file: IO[bytes], name: str, size: int) -> _Seal | None:
    """Read the seal of a file of ``size`` bytes; None if it has no valid seal."""
    if size < SEAL_BYTES:
        return None
    file.seek(size - SEAL_BYTES)
    seal = file.read(SEAL_BYTES)
    fields, check = seal[: _FIELDS.size], seal[_FIELDS.size :]
    if len(seal) < SEAL_BYTES or check != _check(fields, name):
        return None
    magic, length, digest = _FIELDS.unpack(fields)
    if magic != _MAGIC or length != size - SEAL_BYTES:
        return None
    return _Seal(length, digest.hex())


def _check(fields: bytes, name: str) -> bytes:
    return xxhash.xxh3_64_digest(fields + os.fsencode(name))


def _set_time(path: Path, digest: str) -> None:
    """Set the modification time to the latest earlier time that matches the digest."""
    with suppress(OSError):  # another user's file: its content is hashed each time
        state = os.stat(path)
        pairs = state.st_mtime_ns // _SECOND // 2 - 1  # pairs of seconds
        pairs -= (pairs - _remainder(digest)) % _REMAINDERS
        os.utime(path, ns=(state.st_atime_ns, 2 * pairs * _SECOND))


def _is_time_of(time_ns: int, digest: str) -> bool:
    pairs, rest = divmod(time_ns, 2 * _SECOND)
    return rest == 0 and pairs % _REMAINDERS == _remainder(digest)


def _remainder(digest: str) -> int:
    return int(digest[:8], 16) % _REMAINDERS
