"""Token tables are made here: every text once, whole or not at all, from where a build stopped."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.table import TABLE_SUFFIX, TokenTable, table_end
from llm_embedder_data.batches.token_cache.text_index import GrowingTextIndex, TextIndex
from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import is_a_limit, reason, remedy
from llm_embedder_data.core.files import locked, remove_empty_folder
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.core.sealed_files import BUILDING_SUFFIX, HashedFile, hash_of, publish_sealed

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]

# Between two records of how far a build has come, texts.
_RECORD_EVERY = 100_000

# For another process that builds the same table, seconds.
_PATIENCE = 86400.0

_COPY_BYTES = 16 << 20

# Tables in which texts are looked up before they are tokenized.
_MOST_NEIGHBOURS = 32

# Of a table's name, letters that tables of the same files share.
SHARED_NAME = 16

# Of a build, by its process.
_STATE, _OWNER, _LOCK = "state.json", "owner.json", "owner.lock"

# What a killed process left of a table that nobody asked for again, seconds.
_FORGOTTEN = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a dataset: columns of texts, and arrays that go with them.

    Attributes:
        n_rows: of the dataset.
        texts: by column, any number of them.
        sizes: by column, ``[n_rows]`` int64, the texts of each row, where these are not one a row.
        arrays: by name, of any length; those of all blocks are laid end to end.
    """

    n_rows: int
    texts: Mapping[str, list[str]]
    sizes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def build_table(
    path: Path,
    blocks: Callable[[int], Iterator[Block]],
    prefixes: Mapping[str, str],
    tokenize: Tokenize,
    *,
    n_ids: Callable[[], int],
    progress: Callable[[int], None] = lambda n_rows: None,
) -> TokenTable:
    """Tokenize the texts of a dataset, or open what was tokenized before.

    The table appears whole or not at all. One process builds it where locks work, the others wait.
    What a killed process left is taken up where it stood, if it is sound, whatever else lies in the
    folder. A text that another table beside it has is copied from there. Reading rows, and
    tokenizing what is new of them, overlap.

    Args:
        path: of the table's file; tables of the same tokenizer lie beside it.
        blocks: the rows from a given one on; the same each time.
        prefixes: by column, put before each of its texts when it is tokenized.
        tokenize: texts to ids, without special tokens.
        n_ids: one more than the highest id; asked for where there is something to build.
        progress: called with the number of rows done since the last call.

    Raises:
        DataError: the folder cannot be written, the disk is full, or another limit is met.
    """
    try:
        with suppress(FileNotFoundError):
            return TokenTable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, patience=_PATIENCE):
            with suppress(FileNotFoundError):
                return TokenTable(path)
            remove_empty_folder(path)
            with _workplace(path) as place:
                others = _neighbours(path)
                with closing(_Build(place, prefixes, n_ids(), others)) as build:
                    build.run(blocks, tokenize, progress)
                    build.finish(path)
        return TokenTable(path)
    except OSError as error:
        raise DataError.at(
            str(path.parent),
            f"the token cache could not be written: {reason(error)} ({remedy(error)})",
        ) from error


# --------------------------------------------------------------------------------------------------


class _Build:
    """A table being made in a folder of one process."""

    def __init__(
        self, folder: Path, prefixes: Mapping[str, str], n_ids: int, others: Sequence[_Neighbour]
    ) -> None:
        self._folder, self._prefixes, self._others = folder, dict(prefixes), others
        self._types = {"ids": "uint16" if n_ids <= 1 << 16 else "int32"}
        self._types |= {"bounds": "int64", "text_ids": "int64"} | dict.fromkeys(prefixes, "int64")
        state: dict[str, Any] = {
            "n_rows": 0,
            "n_texts": 0,
        }
        if (folder / _STATE).exists():
            state |= read_checked_json(folder / _STATE)
        self.n_rows: int = state["n_rows"]
        self._types |= state.get("types", {})
        self._hashed = _digest(folder / "hashes.bin", 16 * state["n_texts"])
        self._index = GrowingTextIndex(folder, state["n_texts"])
        self._empty: dict[str, int] = state.get("empty", {})
        sizes = state.get("sizes", {})
        self._files = {name: self._open(name, sizes.get(name, 0)) for name in self._types}

    def _open(self, name: str, size: int) -> HashedFile:
        path = self._folder / f"{name}.bin"
        hashed = _digest(path, size)
        file = open(path, "ab")  # noqa: SIM115
        file.truncate(size)
        file.seek(size)
        return HashedFile(file, hashed)

    def run(
        self,
        blocks: Callable[[int], Iterator[Block]],
        tokenize: Tokenize,
        progress: Callable[[int], None],
    ) -> None:
        """Go through the rows that are left."""
        progress(self.n_rows)
        n_new = 0
        with ThreadPoolExecutor(1) as thread:
            pending = self._send(self._number_empty_texts(), thread, tokenize)
            for block in blocks(self.n_rows):
                new = self._take(block)
                following = self._send(new, thread, tokenize)
                self._append(pending)
                pending, n_new = following, n_new + len(new.texts)
                self.n_rows += block.n_rows
                progress(block.n_rows)
                if n_new >= _RECORD_EVERY:
                    self._append(pending)
                    pending, n_new = _Pending([], None), 0
                    self._record()
            self._append(pending)

    def _number_empty_texts(self) -> _New:
        new = _New()
        for column in self._prefixes:
            if column not in self._empty:
                self._empty[column] = int(self._number(column, [""], new)[0])
        return new

    def _take(self, block: Block) -> _New:
        """Write all of a block but the tokens of its new texts, and give these."""
        new = _New()
        for column, sizes in block.sizes.items():
            self._write_bounds(f"{column}_bounds", column, sizes)
        for column, texts in block.texts.items():
            self._write(column, self._number(column, texts, new))
        for name, array in block.arrays.items():
            self._write(name, array)
        return new

    def _number(self, column: str, texts: Sequence[str], new: _New) -> NDArray[np.int64]:
        """The number of each text, ``[n]``; those that are new get the next ones."""
        place: dict[str, int] = {}
        places = [place.setdefault(text, len(place)) for text in texts]
        distinct = list(place)
        put = [self._prefixes[column] + text for text in distinct]
        hashes = _hashes(put)
        numbers = self._index.find(hashes)
        unknown = np.flatnonzero(numbers < 0)
        numbers[unknown] = self._index.add(hashes[unknown])
        self._hashed.update(hashes[unknown])
        new.texts += [put[i] for i in unknown]
        new.hashes.append(hashes[unknown])
        self._write("text_ids", text_ids([distinct[i] for i in unknown]))
        return numbers[places]

    def _send(self, new: _New, thread: ThreadPoolExecutor, tokenize: Tokenize) -> _Pending:
        """Look the texts up in the other tables, and have the rest tokenized."""
        known: list[NDArray[Any] | None] = [None] * len(new.texts)
        missing = np.arange(len(new.texts))
        for other in self._others:
            if not len(missing):
                break
            numbers = other.index.find(np.concatenate(new.hashes)[missing])
            found = numbers >= 0
            for place, number in zip(missing[found], numbers[found], strict=True):
                start, end = other.table.bounds[number : number + 2]
                known[place] = other.table.ids[start:end]
            missing = missing[~found]
        wanted = [new.texts[i] for i in missing]
        return _Pending(known, thread.submit(tokenize, wanted) if wanted else None)

    def _append(self, pending: _Pending) -> None:
        ids = pending.ids()
        if not ids:
            return
        self._write_bounds("bounds", "ids", np.fromiter(map(len, ids), np.int64, len(ids)))
        self._write("ids", np.concatenate(ids))

    def _write_bounds(self, name: str, of: str, sizes: NDArray[np.int64]) -> None:
        """Where runs end that are about to be written to an array; before the first, a 0."""
        n_written = self._files[of].tell() // np.dtype(self._types[of]).itemsize
        ends = n_written + np.cumsum(sizes)
        is_first = name not in self._files or not self._files[name].tell()
        self._write(name, np.append(0, ends) if is_first else ends)

    def _write(self, name: str, array: NDArray[Any]) -> None:
        if name not in self._files:
            self._types[name] = array.dtype.name
            self._files[name] = self._open(name, 0)
        self._files[name].write(np.ascontiguousarray(array, self._types[name]))

    def _sizes(self) -> dict[str, int]:
        for file in self._files.values():
            file.flush()
        return {name: file.tell() for name, file in self._files.items()}

    def _record(self) -> None:
        """Write down how far the build is, for a process that takes it up."""
        state = {
            "n_rows": self.n_rows,
            "n_texts": len(self._index),
            "sizes": self._sizes(),
            "digests": {name: file.digest() for name, file in self._files.items()},
            "hashes": self._hashed.hexdigest(),
            "types": self._types,
            "empty": self._empty,
        }
        write_checked_json(self._folder / _STATE, state)

    def finish(self, path: Path) -> None:
        """Put all arrays behind the ids, and what is said of them, and give the file its name."""
        sizes = self._sizes() | {
            "slots": (self._folder / "slots.bin").stat().st_size,
            "hashes": 16 * len(self._index),
        }
        types = self._types | {"slots": "int64", "hashes": "uint64"}
        table = self._files["ids"]
        arrays = {"ids": (types["ids"], 0, sizes.pop("ids"))}
        for name, size in sizes.items():
            table.write(bytes(-table.tell() % 64))
            start = table.tell()
            with open(self._folder / f"{name}.bin", "rb") as file:
                for at in range(0, size, _COPY_BYTES):
                    table.write(file.read(min(_COPY_BYTES, size - at)))
            arrays[name] = (types[name], start, table.tell())
        table.write(table_end(arrays, self._prefixes, self._empty))
        publish_sealed(self._folder / "ids.bin", table, path)

    def close(self) -> None:
        """Leave the files to the next process that may take them up."""
        self._index.close()
        for file in self._files.values():
            file.close()


@dataclass(slots=True)
class _New:
    """Texts that got a number and have no tokens yet, and their hashes, ``[m, 2]`` each."""

    texts: list[str] = field(default_factory=list)
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pending:
    """The ids of new texts that another table has, None for others, and a promise of these."""

    known: list[NDArray[Any] | None]
    promised: Future[Sequence[Sequence[int]]] | None

    def ids(self) -> list[NDArray[Any]]:
        promised = iter(() if self.promised is None else self.promised.result())
        return [np.array(next(promised), np.int64) if one is None else one for one in self.known]


@dataclass(frozen=True, slots=True)
class _Neighbour:
    table: TokenTable
    index: TextIndex


def _neighbours(path: Path) -> list[_Neighbour]:
    """Finished tables of the same tokenizer: those of the same files, and the largest."""
    tables = []
    with os.scandir(path.parent) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file() and not entry.name.endswith(".lock"):
                    is_kin = entry.name[:SHARED_NAME] == path.name[:SHARED_NAME]
                    tables.append((is_kin, entry.stat().st_size, entry.name))
    found: list[_Neighbour] = []
    for _, _, name in sorted(tables, reverse=True):
        if len(found) == _MOST_NEIGHBOURS:
            break
        try:
            table = TokenTable(path.with_name(name))
        except OSError as error:
            if is_a_limit(error):
                break  # they only save time
        else:
            found.append(_Neighbour(table, table.index()))
    return found


class _workplace:
    """A folder to build in, of this process alone: one that a killed process left, or a new one.

    What is neither sound nor wanted any more is deleted, or where that cannot be, left alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place: Path
        self._lock: FileLock

    def __enter__(self) -> Path:
        for place in sorted(self._path.parent.glob(f"*{BUILDING_SUFFIX}")):
            is_own = place.name.startswith(f"{self._path.stem}.")
            if (is_own or _is_unwanted(place)) and self._take_over(place):
                if is_own and _can_be_taken_up(place):
                    return place
                self._give_up()
        self._place = self._path.with_name(f"{self._path.stem}.{uuid4().hex}{BUILDING_SUFFIX}")
        self._place.mkdir()
        self._lock = FileLock(self._place / _LOCK)
        with suppress(OSError, NotImplementedError):
            self._lock.acquire(timeout=0)
        write_checked_json(self._place / _OWNER, socket.gethostname())
        return self._place

    def _take_over(self, place: Path) -> bool:
        # A lock of another machine may not be seen here, so what it left is its own.
        if read_checked_json(place / _OWNER) != socket.gethostname() or place.is_symlink():
            return False
        self._place, self._lock = place, FileLock(place / _LOCK)
        with suppress(OSError, NotImplementedError):
            self._lock.acquire(timeout=0)
            return True
        return False

    def _give_up(self) -> None:
        self._lock.release()  # first, for Windows deletes no file that is open
        shutil.rmtree(self._place, ignore_errors=True)

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is None:
            self._give_up()
        else:  # left to whoever takes the build up
            self._lock.release()


def _can_be_taken_up(place: Path) -> bool:
    """Whether a build got so far that it was written down, and its files are as they were then."""
    state = read_checked_json(place / _STATE)
    if state is None or not os.access(place, os.W_OK):
        return False
    files = {name: (size, state["digests"][name]) for name, size in state["sizes"].items()}
    files["hashes"] = (16 * state["n_texts"], state["hashes"])
    for name, (size, digest) in files.items():
        path = place / f"{name}.bin"
        try:
            with open(path, "r+b") as file:
                if hash_of(file, size).hexdigest() != digest:
                    return False
        except OSError:
            return False
    return True


def _digest(path: Path, size: int) -> Any:
    """Of a file's first bytes, to which more are going to be added."""
    if not size:
        return xxhash.xxh3_128()
    with open(path, "rb") as file:
        return hash_of(file, size)


def _is_unwanted(place: Path) -> bool:
    """Whether a build's table is finished, or nobody has asked for it for long."""
    try:
        table = place.with_name(place.name.split(".")[0] + TABLE_SUFFIX)
        return table.exists() or time.time() - place.stat().st_mtime > _FORGOTTEN
    except OSError:  # another process has just finished that table
        return False


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """128 bits of each text, ``[n, 2]``."""
    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
