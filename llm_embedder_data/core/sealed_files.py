"""Files that tell whether they still are what was written.

A sealed file ends in the length and the digest of its content, and its modification time is one
that this digest stands for, which no later write gives it. As long as its size and time are right
it is taken for whole at the cost of reading its last bytes; where they are not, as in a copy, or
where anything wrote to it since, its content decides, and a sound one gets such a time again. The
same content makes the same bytes. A memo is a small JSON file with its digest.
"""

from __future__ import annotations

import json
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
MEMO_SUFFIX = ".digest"

# Of a build that is under way, whose files tell by its own memo whether they are sound.
BUILDING_SUFFIX = ".building"

_MAGIC = b"\x00sealed\x01"
_FIELDS = Struct("<8sQ16s")  # magic, length of the content, digest
_CHECK_BYTES = 8  # of the fields and the name
SEAL_BYTES = _FIELDS.size + _CHECK_BYTES

# Of a sealed file's modification time, which has whole seconds, an even number of them, as the
# coarsest file systems count: half of it leaves a remainder that the digest tells. Another time
# that has whole seconds passes for it once in so many, and one that has not never does.
_REMAINDERS = 1 << 15
_SECOND = 10**9  # ns

# Read at a time, bytes: what the processor's cache holds.
_HASHED_BYTES = 1 << 18


class HashedFile:
    """A file that is written from its start to its end, and the digest of what was written.

    Args:
        file: to write to, at its start, or at the end of ``hashed``.
        hashed: the digest of what it holds.
    """

    closed = False

    def __init__(self, file: IO[bytes], hashed: Any = None) -> None:
        self._file = file
        self._hashed = xxhash.xxh3_128() if hashed is None else hashed
        self._n_bytes = file.tell()

    def write(self, content: Any) -> int:
        """Append bytes, or what has their buffer; the number of bytes."""
        self._hashed.update(content)
        n_bytes = memoryview(content).nbytes
        self._file.write(content)
        self._n_bytes += n_bytes
        return n_bytes

    def tell(self) -> int:
        """Bytes written."""
        return self._n_bytes

    def flush(self) -> None:
        """Give what was written to the system."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def digest(self) -> str:
        """128 bits of what was written, in hexadecimal."""
        return str(self._hashed.hexdigest())

    def seal(self, name: str) -> None:
        """Write the end by which the file is known under a name; nothing comes after it."""
        fields = _FIELDS.pack(_MAGIC, self._n_bytes, self._hashed.digest())
        self._file.write(fields + _check(fields, name))
        sync(self._file)


@contextmanager
def sealed_file(path: Path) -> Iterator[HashedFile]:
    """A file to write, which appears under its name, sealed, when the block ends without an error.

    Raises:
        OSError: as of :func:`~llm_embedder_data.core.files.atomic_file`.
    """
    with atomic_file(path, is_the_same=is_whole) as file:
        hashed = HashedFile(file)
        yield hashed
        hashed.seal(path.name)
    _give_time(path, hashed.digest())


def publish_sealed(part: Path, file: HashedFile, path: Path) -> None:
    """Seal a file that was written under another name, close it, and give it its own.

    Raises:
        OSError: the folder cannot be written, the disk is full, or a folder has that name.
    """
    file.seal(path.name)
    file.close()
    publish(part, path, is_whole)
    _give_time(path, file.digest())


def is_whole(path: Path, *, in_full: bool = False) -> bool:
    """Whether a sealed file is there and is what was written under that name.

    Args:
        path: of the file.
        in_full: read its content whatever its size and time are.
    """
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):  # to open a pipe would be to wait
            return False
        with open(path, "rb") as file:
            seal = _read_seal(file, path.name, state.st_size)
            if seal is None:
                return False
            is_timely = _is_time_of(state.st_mtime_ns, seal.digest)
            if is_timely and not in_full:
                return True
            file.seek(0)
            if hash_of(file, seal.length).hexdigest() != seal.digest:
                return False
        if not is_timely:
            _give_time(path, seal.digest)
        return True
    except OSError:  # what cannot be read is made anew, or fails there with the reason
        return False


def mapped(path: Path) -> NDArray[np.uint8]:
    """The content of a sealed file, mapped into memory; holds no file open.

    Raises:
        OSError: it cannot be read, or no more can be mapped.
    """
    with pa.memory_map(str(path)) as file:
        content = np.frombuffer(file.read_buffer(), np.uint8)
    return content[: len(content) - SEAL_BYTES]


def hash_of(file: IO[bytes], n_bytes: int) -> Any:
    """The digest of a file's next bytes, as an object that takes more of them."""
    hashed = xxhash.xxh3_128()
    while n_bytes > 0 and (block := file.read(min(n_bytes, _HASHED_BYTES))):
        hashed.update(block)
        n_bytes -= len(block)
    return hashed


def write_memo(path: Path, content: Any) -> None:
    """Write what JSON can hold, and its digest.

    Raises:
        OSError: the folder cannot be written.
    """
    with atomic_file(path) as file:
        file.write(json.dumps({"content": content, "digest": _memo_digest(content)}).encode())


def read_memo(path: Path) -> Any:
    """What was written to a memo; None where there is none, or it is not what was written."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        memo = json.loads(path.read_bytes())
        content, digest = memo["content"], memo["digest"]
        return content if digest == _memo_digest(content) else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def damaged_files(folder: Path) -> list[Path]:
    """Every cache file below a folder that is not what was written, whatever its time says.

    Reads all of them. Whoever deletes what is found has it made anew by the next start.
    """
    damaged = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(BUILDING_SUFFIX)]
        for path in (Path(place, name) for name in [*names, *folders]):
            if (path.suffix in SEALED_SUFFIXES and not is_whole(path, in_full=True)) or (
                path.suffix == MEMO_SUFFIX and read_memo(path) is None
            ):
                damaged.append(path)
    return sorted(damaged)


# --------------------------------------------------------------------------------------------------


class _Seal(NamedTuple):
    length: int
    digest: str


def _read_seal(file: IO[bytes], name: str, size: int) -> _Seal | None:
    if size < SEAL_BYTES:
        return None
    file.seek(size - SEAL_BYTES)
    end = file.read(SEAL_BYTES)
    fields, check = end[: _FIELDS.size], end[_FIELDS.size :]
    if len(end) < SEAL_BYTES or check != _check(fields, name):
        return None
    magic, length, digest = _FIELDS.unpack(fields)
    if magic != _MAGIC or length != size - SEAL_BYTES:
        return None
    return _Seal(length, digest.hex())


def _give_time(path: Path, digest: str) -> None:
    """The latest time before the file's own that its digest stands for: some hours earlier."""
    with suppress(OSError):  # another user's file: its content is read each time
        state = os.stat(path)
        pairs = state.st_mtime_ns // _SECOND // 2 - 1
        pairs -= (pairs - _remainder(digest)) % _REMAINDERS
        os.utime(path, ns=(state.st_atime_ns, 2 * pairs * _SECOND))


def _is_time_of(time: int, digest: str) -> bool:
    pairs, rest = divmod(time, 2 * _SECOND)
    return rest == 0 and pairs % _REMAINDERS == _remainder(digest)


def _remainder(digest: str) -> int:
    return int(digest[:8], 16) % _REMAINDERS


def _check(fields: bytes, name: str) -> bytes:
    return xxhash.xxh3_64_digest(fields + os.fsencode(name))


def _memo_digest(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
