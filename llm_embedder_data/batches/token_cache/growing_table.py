"""A token table while it is being built: each distinct text once, resumable after a kill.

The build folder has one file per array, ``<array>.bin``, to which blocks of rows are appended:

- ``ids`` and ``bounds``: the tokens of all distinct texts, see TokenTable;
- ``text_ids``: for each distinct text, a hash of it without its prefix, which identifies the text
  in batches;
- one array per column with the text number of each row, and further arrays with data of the rows;
- ``hashes`` and ``slots``: the index of the distinct texts, memory-mapped;
- ``state.json``: the progress of the build, written from time to time. When another process
  continues the build, it truncates each file to its recorded size.

In the end all arrays are appended to ``ids.bin``, which is renamed to become the table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.batches.token_cache.build_folder import STATE
from llm_embedder_data.batches.token_cache.other_tables import OtherTable
from llm_embedder_data.batches.token_cache.text_index import GrowingTextIndex
from llm_embedder_data.core.array_files import arrays_end
from llm_embedder_data.core.checked_json import read_checked_json, write_checked_json
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.core.sealed_files import HashedFile, hash_of, publish_sealed

Value = TypeVar("Value", bound=Hashable)

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]

# Record the progress of a build each time it has added this many new texts.
_RECORD_EVERY = 100_000

_COPY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Some rows of a dataset: columns of texts, and arrays beside them.

    Attributes:
        n_rows: number of rows.
        texts: texts by column; a row may have any number of texts in a column.
        sizes: number of texts of each row, ``[n_rows]`` int64, by column; left out for a column in
            which each row has one text.
        arrays: further data by name, of any length; the table concatenates those of all blocks.
        instructions: one instruction per text, by column, to tokenize the text together with; None
            for a text without one. Left out for a column in which no text has one.
    """

    n_rows: int
    texts: Mapping[str, list[str]]
    sizes: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    instructions: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


class GrowingTable:
    """A table that this process builds in a folder.

    Args:
        folder: an empty folder, or one with an interrupted build, which is continued.
        prefixes: the string put before each text when it is tokenized, by column.
        n_ids: one more than the highest token id; it determines the dtype of ``ids``.
        others: finished tables, from which the tokens of known texts are copied.

    Attributes:
        n_rows: number of rows that have been added.
    """

    def __init__(
        self, folder: Path, prefixes: Mapping[str, str], n_ids: int, others: Sequence[OtherTable]
    ) -> None:
        self._folder, self._prefixes, self._others = folder, dict(prefixes), others
        self._types = {"ids": "uint16" if n_ids <= 1 << 16 else "int32"}
        self._types |= {"bounds": "int64", "text_ids": "int64"} | dict.fromkeys(prefixes, "int64")
        state: dict[str, Any] = {"n_rows": 0, "n_texts": 0}
        if (folder / STATE).exists():
            state |= read_checked_json(folder / STATE)
        self.n_rows: int = state["n_rows"]
        self._types |= state.get("types", {})
        # The running digest of hashes.bin. A HashedFile computes its digest itself, but hashes.bin
        # is written through a memory map.
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
        blocks: Callable[[int], Iterator[RowBlock]],
        tokenize: Tokenize,
        progress: Callable[[int], None],
    ) -> None:
        """Add the remaining rows.

        Tokenization runs in a second thread. While it tokenizes the new texts of one block, this
        thread reads and numbers the texts of the next. Only then are the tokens of the first block
        appended; until then they are ``pending``.

        Args:
            blocks: yields the rows from a given row on.
            tokenize: returns the ids of texts, without special tokens.
            progress: called with the number of rows added since the last call.
        """
        progress(self.n_rows)  # rows that an interrupted build has added already
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
        """Add an empty text to each column, with which batches pad groups of fewer keys."""
        new = _New()
        for column in self._prefixes:
            if column not in self._empty:
                self._empty[column] = int(self._number(column, [""], new)[0])
        return new

    def _take(self, block: RowBlock) -> _New:
        """Write everything of a block except the tokens of its new texts; return these texts."""
        new = _New()
        for column, sizes in block.sizes.items():
            self._write_bounds(f"{column}_bounds", column, sizes)
        for column, texts in block.texts.items():
            own = block.instructions.get(column)
            self._write(column, self._number(column, texts, new, own))
        for name, array in block.arrays.items():
            self._write(name, array)
        return new

    def _number(
        self,
        column: str,
        texts: Sequence[str],
        new: _New,
        instructions: Sequence[str | None] | None = None,
    ) -> NDArray[np.int64]:
        """Return the number of each text, ``[n]``; new texts get the next numbers."""
        common = self._prefixes[column]
        prefixes: list[str] = [common]
        if instructions is None:
            distinct, index = _distinct(texts)
            prefixes *= len(distinct)
        else:
            own = [common if own is None else own for own in instructions]
            pairs, index = _distinct(list(zip(own, texts, strict=True)))
            prefixes, distinct = [own for own, _ in pairs], [text for _, text in pairs]
        prefixed = [prefix + text for prefix, text in zip(prefixes, distinct, strict=True)]
        hashes = _hashes(prefixed, map(len, prefixes))
        numbers = self._index.find(hashes)
        unknown = np.flatnonzero(numbers < 0)
        numbers[unknown] = self._index.add(hashes[unknown])
        self._hashed.update(hashes[unknown])
        new.texts += [prefixed[i] for i in unknown]
        new.hashes.append(hashes[unknown])
        self._write("text_ids", text_ids([distinct[i] for i in unknown]))
        return numbers[index]

    def _send(self, new: _New, thread: ThreadPoolExecutor, tokenize: Tokenize) -> _Pending:
        """Look up new texts in the other tables, and start to tokenize those not found there."""
        known: list[NDArray[Any] | None] = [None] * len(new.texts)
        missing = np.arange(len(new.texts))
        for other in self._others:
            if not len(missing):
                break
            numbers = other.index.find(np.concatenate(new.hashes)[missing])
            found = numbers >= 0
            for i, number in zip(missing[found], numbers[found], strict=True):
                start, end = other.table.bounds[number : number + 2]
                known[i] = other.table.ids[start:end]
            missing = missing[~found]
        wanted = [new.texts[i] for i in missing]
        return _Pending(known, thread.submit(tokenize, wanted) if wanted else None)

    def _append(self, pending: _Pending) -> None:
        """Write the tokens of texts that :meth:`_send` took, once the thread has finished them."""
        ids = pending.ids()
        if not ids:
            return
        self._write_bounds("bounds", "ids", np.fromiter(map(len, ids), np.int64, len(ids)))
        self._write("ids", np.concatenate(ids))

    def _write_bounds(self, name: str, of: str, sizes: NDArray[np.int64]) -> None:
        """Write the bounds of slices that are about to be appended to an array.

        The bounds of an array begin with a 0; after that, each slice adds its end.

        Args:
            name: the array of bounds to write to, such as ``key_bounds``.
            of: the array that the slices will be appended to, such as ``key``.
            sizes: length of each slice.
        """
        n_written = 0
        if of in self._files:
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
        """Record the progress of the build, so that another process can continue from here."""
        state = {
            "n_rows": self.n_rows,
            "n_texts": len(self._index),
            "sizes": self._sizes(),
            "digests": {name: file.digest() for name, file in self._files.items()},
            "hashes": self._hashed.hexdigest(),
            "types": self._types,
            "empty": self._empty,
        }
        write_checked_json(self._folder / STATE, state)

    def finish(self, path: Path) -> None:
        """Append all arrays and the header to ``ids.bin``, and rename it to ``path``."""
        sizes = self._sizes() | {
            "slots": (self._folder / "slots.bin").stat().st_size,
            "hashes": 16 * len(self._index),
        }
        types = self._types | {"slots": "int64", "hashes": "uint64"}
        table = self._files["ids"]
        arrays = {"ids": (types["ids"], 0, sizes.pop("ids"))}
        for name, size in sizes.items():
            table.write(bytes(-table.tell() % 64))  # align arrays to cache lines
            start = table.tell()
            with open(self._folder / f"{name}.bin", "rb") as file:
                for position in range(0, size, _COPY_BYTES):
                    table.write(file.read(min(_COPY_BYTES, size - position)))
            arrays[name] = (types[name], start, table.tell())
        table.write(arrays_end(arrays, prefixes=self._prefixes, empty=self._empty))
        publish_sealed(self._folder / "ids.bin", table, path)

    def close(self) -> None:
        """Close all files, so that another process can continue the build."""
        self._index.close()
        for file in self._files.values():
            file.close()


@dataclass(slots=True)
class _New:
    """Texts that have a number but no tokens yet, and arrays of their hashes, ``[m, 2]`` each."""

    texts: list[str] = field(default_factory=list)
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pending:
    """The token ids of new texts, not written yet.

    Attributes:
        known: for each text, the ids copied from another table, or None if it is being tokenized.
        tokenized: the ids of the texts that have None in ``known``, in the same order; None if
            there are no such texts.
    """

    known: list[NDArray[Any] | None]
    tokenized: Future[Sequence[Sequence[int]]] | None

    def ids(self) -> list[NDArray[Any]]:
        """Return the ids of each text; wait for the tokenizer if it is not done."""
        tokenized = iter(() if self.tokenized is None else self.tokenized.result())
        return [np.array(next(tokenized), np.int64) if ids is None else ids for ids in self.known]


def _digest(path: Path, size: int) -> Any:
    """Return the running hash of a file's first ``size`` bytes."""
    if not size:
        return xxhash.xxh3_128()
    with open(path, "rb") as file:
        return hash_of(file, size)


def _distinct(values: Sequence[Value]) -> tuple[list[Value], list[int]]:
    """Return the distinct values in order of appearance, and each value's index among them."""
    distinct: dict[Value, int] = {}
    index = [distinct.setdefault(value, len(distinct)) for value in values]
    return list(distinct), index


def _hashes(texts: Sequence[str], prefix_lengths: Iterable[int]) -> NDArray[np.uint64]:
    """Return a 128-bit hash of each text, ``[n, 2]`` uint64.

    The hash depends on the length of the prefix as well: equal strings whose prefixes end at
    different places are different texts without their prefixes.
    """
    digests = b"".join(
        xxhash.xxh3_128_digest(text.encode(), seed=length)
        for text, length in zip(texts, prefix_lengths, strict=True)
    )
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)
