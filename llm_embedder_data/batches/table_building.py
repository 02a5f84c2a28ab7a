"""Token tables are made here: every text once, whole or not at all, from where a build stopped."""

from __future__ import annotations

import json
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

from llm_embedder_data.batches.text_index import GrowingTextIndex, TextIndex
from llm_embedder_data.batches.token_table import TABLE_FILE, TokenTable
from llm_embedder_data.files import atomic_file, locked
from llm_embedder_data.hashing import text_ids
from llm_embedder_data.rows.schema import DataError

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]

# Between two records of how far a build has come, texts.
_RECORD_EVERY = 100_000

# For another process that builds the same table, seconds.
_PATIENCE = 86400.0

_COPY_BYTES = 16 << 20

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
    folder: Path,
    blocks: Callable[[int], Iterator[Block]],
    prefixes: Mapping[str, str],
    tokenize: Tokenize,
    *,
    n_ids: Callable[[], int],
    progress: Callable[[int], None] = lambda n_rows: None,
) -> TokenTable:
    """Tokenize the texts of a dataset, or open what was tokenized before.

    The table appears whole or not at all. One process builds it where locks work, the others wait.
    What a killed process left is taken up where it stood. A text that another table beside it has
    is copied from there. Reading rows, and tokenizing what is new of them, overlap.

    Args:
        folder: of the table; tables of the same tokenizer lie beside it.
        blocks: the rows from a given one on; the same each time.
        prefixes: by column, put before each of its texts when it is tokenized.
        tokenize: texts to ids, without special tokens.
        n_ids: one more than the highest id; asked for where there is something to build.
        progress: called with the number of rows done since the last call.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    with suppress(FileNotFoundError):
        return TokenTable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder, patience=_PATIENCE):
            with suppress(FileNotFoundError):
                return TokenTable(folder)
            with _workplace(folder) as place:
                if not (place / "meta.json").exists():
                    with closing(_Build(place, prefixes, n_ids(), _neighbours(folder))) as build:
                        build.run(blocks, tokenize, progress)
                        build.finish()
                _move(place, folder)
    except OSError as error:
        raise DataError.at(
            str(folder.parent),
            f"the token cache could not be written: {error.strerror or error} (make room, or give "
            "another data.cache_dir)",
        ) from error
    return TokenTable(folder)


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
            "sizes": {},
        }
        with suppress(FileNotFoundError):
            # One that stopped while it put the arrays together.
            os.rename(folder / TABLE_FILE, folder / "ids.bin")
        with suppress(FileNotFoundError):
            state |= json.loads((folder / "state.json").read_bytes())
        self.n_rows: int = state["n_rows"]
        self._types |= state.get("types", {})
        self._index = GrowingTextIndex(folder, state["n_texts"])
        self._empty: dict[str, int] = state.get("empty", {})
        self._files = {name: self._open(name, state["sizes"].get(name, 0)) for name in self._types}

    def _open(self, name: str, size: int) -> Any:
        file = open(self._folder / f"{name}.bin", "ab")  # noqa: SIM115
        file.truncate(size)
        file.seek(size)
        return file

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
        new.texts += [put[i] for i in unknown]
        new.hashes.append(hashes[unknown])
        self._write("text_ids", text_ids([distinct[i] for i in unknown]))
        return numbers[places]

    def _send(self, new: _New, thread: ThreadPoolExecutor, tokenize: Tokenize) -> _Pending:
        """Look the texts up in the other tables, and have the rest tokenized."""
        known: list[NDArray[Any] | None] = [None] * len(new.texts)
        missing = np.arange(len(new.texts))
        for other in self._others:
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
        self._files[name].write(array.astype(self._types[name], copy=False).tobytes())

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
            "types": self._types,
            "empty": self._empty,
        }
        with atomic_file(self._folder / "state.json") as file:
            file.write(json.dumps(state).encode())

    def finish(self) -> None:
        """Put all arrays behind the ids, and write down where they are."""
        sizes = self._sizes() | {
            "slots": (self._folder / "slots.bin").stat().st_size,
            "hashes": 16 * len(self._index),
        }
        types = self._types | {"slots": "int64", "hashes": "uint64"}
        table = self._files["ids"]
        arrays = {"ids": (types["ids"], 0, sizes.pop("ids"))}
        for name, size in sizes.items():
            start = table.seek(-(-table.tell() // 64) * 64)
            table.truncate(start)
            with open(self._folder / f"{name}.bin", "rb") as file:
                for at in range(0, size, _COPY_BYTES):
                    table.write(file.read(min(_COPY_BYTES, size - at)))
            arrays[name] = (types[name], start, table.tell())
        meta = {
            "n_bytes": table.tell(),
            "arrays": arrays,
            "prefixes": self._prefixes,
            "empty": self._empty,
        }
        self.close()
        os.rename(self._folder / "ids.bin", self._folder / TABLE_FILE)
        with atomic_file(self._folder / "meta.json") as file:
            file.write(json.dumps(meta).encode())

    def close(self) -> None:
        """Leave the files to the next process that may take them up."""
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


def _neighbours(folder: Path) -> list[_Neighbour]:
    """The finished tables of the same tokenizer."""
    found = []
    for meta in sorted(folder.parent.glob("*/meta.json")):
        with suppress(FileNotFoundError):
            table = TokenTable(meta.parent)
            found.append(_Neighbour(table, table.index()))
    return found


class _workplace:
    """A folder to build in, of this process alone: one that a killed process left, or a new one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: Path
        self._lock: FileLock

    def __enter__(self) -> Path:
        places = sorted(self._folder.parent.glob("*.building"))
        for place in places:
            if place.name.startswith(self._folder.name) and self._take_over(place):
                return place
            if _is_forgotten(place) and self._take_over(place):
                shutil.rmtree(place)
                self._lock.release()
        place = self._folder.with_name(f"{self._folder.name}.{uuid4().hex}.building")
        place.mkdir()
        self._lock = FileLock(place / "owner.lock")
        with suppress(OSError, NotImplementedError):
            self._lock.acquire(timeout=0)
        (place / "owner.json").write_text(json.dumps(socket.gethostname()))
        self._place = place
        return place

    def _take_over(self, place: Path) -> bool:
        # A lock of another machine may not be seen here, so what it left is its own.
        with suppress(OSError, ValueError, NotImplementedError):
            if json.loads((place / "owner.json").read_bytes()) == socket.gethostname():
                self._place, self._lock = place, FileLock(place / "owner.lock")
                self._lock.acquire(timeout=0)
                return True
        return False

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self._lock.release()


def _is_forgotten(place: Path) -> bool:
    try:
        return time.time() - place.stat().st_mtime > _FORGOTTEN
    except FileNotFoundError:  # another process has just finished that table
        return False


def _move(place: Path, folder: Path) -> None:
    for path in place.iterdir():
        if path.name not in (TABLE_FILE, "meta.json", "owner.lock"):
            path.unlink()
    try:
        TokenTable(folder)
    except FileNotFoundError:
        if folder.exists():  # and its files were cut off
            shutil.rmtree(folder)
        os.rename(place, folder)
    else:
        shutil.rmtree(place)  # another process was first, where there are no locks


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """128 bits of each text, ``[n, 2]``."""
    digests = b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts)
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
