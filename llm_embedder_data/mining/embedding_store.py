"""Embedding stores: memory-mapped vectors of a set of texts, in a folder named by a fingerprint.

Equal texts share one vector. The distinct texts, in order of first appearance, are divided into
shards of equal size. The size depends only on the number of distinct texts, so any number of
processes on any number of machines write the same shards. A shard is a sealed file: it appears
complete or not at all. The store is complete when all shards are there; no step merges them.

    <root>/<digest of the fingerprint>/
        store.json       the fingerprint, the number of distinct texts, and the shard size
        ids.arrow        the id of each text
        numbers.bin      int64, for each text the number of its distinct text; only if texts repeat
        hashes.bin       two uint64, the hash of each distinct text, to look up single texts
        <digest>.00000.bin ...   the vectors of each shard

The folder's name, store.json and the names of the shards all contain the fingerprint. So vectors of
other weights, prompts or texts are never read, not even from files that were copied or renamed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llm_embedder_data.core.checked_json import read_checked_json
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.core.sealed_files import is_whole, mapped
from llm_embedder_data.mining.store_fingerprint import StoredType, StoreFingerprint

HEADER, IDS, NUMBERS, TEXT_HASHES = "store.json", "ids.arrow", "numbers.bin", "hashes.bin"

# A message lists at most this many missing shards, and counts the rest.
_SHARDS_NAMED = 8


@dataclass(frozen=True)
class StoreLayout:
    """Where a store's files are, and how its distinct texts are cut into shards.

    Attributes:
        root: the folder that holds the stores.
        fingerprint: the fingerprint that names the store.
        n_distinct: M, the number of distinct texts.
    """

    root: Path
    fingerprint: StoreFingerprint
    n_distinct: int

    @cached_property
    def folder(self) -> Path:
        """The store's folder."""
        return self.root / self.fingerprint.digest()

    @property
    def texts_per_shard(self) -> int:
        """Distinct texts in every shard but the last: 2 * sqrt(M).

        There are about sqrt(M) / 2 shards: enough for hundreds of processes, and only 5,000 files
        for a hundred million texts.
        """
        return max(1, math.isqrt(4 * self.n_distinct))

    @property
    def n_shards(self) -> int:
        """The number of shards."""
        return -(-self.n_distinct // self.texts_per_shard)

    def texts_of(self, shard: int) -> range:
        """Return the numbers of the distinct texts of a shard."""
        start = shard * self.texts_per_shard
        return range(start, min(start + self.texts_per_shard, self.n_distinct))

    def path(self, shard: int) -> Path:
        """Return the path of a shard's file.

        The name contains the fingerprint, and the seal records the name. So a shard of another
        store is refused, even if it was copied here.
        """
        return self.folder / f"{self.folder.name[:16]}.{shard:05}.bin"

    def is_written(self, shard: int) -> bool:
        """Return whether a shard exists and is intact."""
        return is_whole(self.path(shard))

    def missing(self) -> list[int]:
        """Return the numbers of the shards that do not exist or are damaged."""
        return [shard for shard in range(self.n_shards) if not self.is_written(shard)]

    def header(self, command: str | None) -> dict[str, Any]:
        """Return the content of store.json.

        Args:
            command: the command line that fills the store, shown if shards are missing; or None.
        """
        return {
            "fingerprint": self.fingerprint.as_dict(),
            "n_distinct": self.n_distinct,
            "texts_per_shard": self.texts_per_shard,
            "command": command,
        }

    def require_complete(self, command: str | None) -> None:
        """Refuse a store with missing shards.

        Args:
            command: the command line that fills the store, or None if no command was used.

        Raises:
            DataError: shards are missing. The message names them, and the command.
        """
        missing = self.missing()
        if not missing:
            return
        named = ", ".join(map(str, missing[:_SHARDS_NAMED]))
        more = f" and {len(missing) - _SHARDS_NAMED} more" if len(missing) > _SHARDS_NAMED else ""
        make = one_line(command) if command else "fill_store"
        raise DataError.at(
            str(self.folder),
            f"the embedding store is incomplete: {len(missing)} of {self.n_shards} shards are "
            f"missing: {named}{more} (run {make}, which writes only these)",
        )


class EmbeddingStore:
    """The vectors and ids of N texts, memory-mapped. Position i is the i-th text of the store.

    Open it with :meth:`open`. The store holds each distinct text once; equal texts share a vector.

    Args:
        layout: the store's files, all of which exist.

    Attributes:
        folder: the store's folder.
        fingerprint: everything that the vectors depend on.
        width: D, the number of dimensions of a vector.

    Raises:
        DataError: a shard has the wrong size.
    """

    def __init__(self, layout: StoreLayout) -> None:
        self.folder = layout.folder
        self.fingerprint = layout.fingerprint
        self._per_shard = layout.texts_per_shard
        contents = [mapped(layout.path(shard)) for shard in range(layout.n_shards)]
        sizes = [len(layout.texts_of(shard)) for shard in range(layout.n_shards)]
        n_bytes = bytes_of(layout.fingerprint.dtype)
        self.width = len(contents[0]) // (sizes[0] * n_bytes) if contents else 0
        for shard, (content, size) in enumerate(zip(contents, sizes, strict=True)):
            if len(content) != size * self.width * n_bytes:
                raise DataError.at(
                    str(layout.path(shard)),
                    f"the shard has {len(content)} bytes, expected {size} vectors of {self.width} "
                    f"dimensions ({layout.fingerprint.dtype}; delete the file and fill the store)",
                )
        # NumPy has no bfloat16, so the numbers stay raw bytes until they are read.
        raw = np.dtype(f"V{n_bytes}")
        self._shards = [
            content.view(raw).reshape(size, self.width)
            for content, size in zip(contents, sizes, strict=True)
        ]
        self._numbers: NDArray[np.int64] | None = None
        if layout.n_distinct < len(self):
            self._numbers = mapped(self.folder / NUMBERS).view(np.int64)

    @classmethod
    def open(cls, root: str | Path, fingerprint: StoreFingerprint) -> EmbeddingStore:
        """Open the store with the given fingerprint, which must be complete.

        Args:
            root: the folder that holds the stores.
            fingerprint: the fingerprint of the vectors to read.

        Raises:
            DataError: there is no such store, it is incomplete, or a file of it is damaged.
        """
        root = Path(root)
        folder = root / fingerprint.digest()
        header = read_checked_json(folder / HEADER)
        if header is None or header["fingerprint"] != fingerprint.as_dict():
            raise DataError.at(
                str(root),
                f"there is no embedding store of these texts{_nearest(root, fingerprint)}",
            )
        layout = StoreLayout(root, fingerprint, header["n_distinct"])
        for name in (IDS, *([NUMBERS] if layout.n_distinct < fingerprint.n_texts else [])):
            if not is_whole(folder / name):
                raise DataError.at(
                    str(folder / name), "the file is missing or damaged (fill the store again)"
                )
        layout.require_complete(header["command"])
        return cls(layout)

    def __len__(self) -> int:
        return self.fingerprint.n_texts

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.folder)!r}, {len(self)} x {self.width})"

    @property
    def ids(self) -> pa.StringArray:
        """The id of each text, ``[N]``, memory-mapped."""
        with pa.ipc.open_stream(pa.py_buffer(mapped(self.folder / IDS))) as reader:
            return reader.read_all().column("id").combine_chunks()

    def vectors(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the vectors of positions ``start`` to ``stop`` (exclusive), ``[n, D]`` float32.

        If the store is float32, has no equal texts and the range lies in a single shard, this is a
        read-only view of the mapped file. Otherwise it is a copy.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        if self._numbers is not None:
            return self.of_distinct(self._numbers[start:stop])
        parts = []
        while start < stop:
            shard, begin = divmod(start, self._per_shard)
            end = min(begin + stop - start, len(self._shards[shard]))
            parts.append(self._as_float32(self._shards[shard][begin:end]))
            start += end - begin
        if not parts:
            return np.empty((0, self.width), np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def at(self, positions: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors at the given positions, in that order, ``[n, D]`` float32."""
        positions = np.asarray(positions, np.int64)
        return self.of_distinct(positions if self._numbers is None else self._numbers[positions])

    def of_distinct(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of distinct texts, ``[n, D]`` float32.

        Args:
            numbers: ``[n]`` int64, numbers of distinct texts, in any order.
        """
        vectors = np.empty((len(numbers), self.width), np.float32)
        shards, rows = np.divmod(numbers, self._per_shard)
        order = np.argsort(shards, kind="stable")
        begins = np.flatnonzero(np.diff(shards[order], prepend=-1))
        for of_shard in np.split(order, begins[1:]) if len(order) else []:
            shard = self._shards[shards[of_shard[0]]]
            vectors[of_shard] = self._as_float32(shard[rows[of_shard]])
        return vectors

    def blocks(self, n_texts: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield ``(start position, vectors [n, D])`` of consecutive blocks.

        Args:
            n_texts: texts in every block but the last.
        """
        for start in range(0, len(self), n_texts):
            yield start, self.vectors(start, start + n_texts)

    def _as_float32(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        if self.fingerprint.dtype == "float32":
            return raw.view(np.float32)
        if self.fingerprint.dtype == "float16":
            return raw.view(np.float16).astype(np.float32)
        # bfloat16, which NumPy lacks, is the upper half of a float32.
        return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def bytes_of(dtype: StoredType) -> int:
    """Return the size of a number of this type, in bytes."""
    return 4 if dtype == "float32" else 2


def read_headers(root: Path) -> dict[str, dict[str, Any]]:
    """Return the header of each store in a folder, by the store's name, in the order of names.

    A store whose header is damaged is left out.

    Args:
        root: the folder that holds the stores; it need not exist.
    """
    paths = sorted(root.glob(f"*/{HEADER}"))
    headers = ((path.parent.name, read_checked_json(path)) for path in paths)
    return {name: header for name, header in headers if header is not None}


@dataclass(frozen=True, slots=True)
class SimilarStore:
    """A store whose fingerprint differs from the requested fingerprint.

    Attributes:
        name: name of the store's folder.
        differs_in: names of the fields of the fingerprint that differ.
    """

    name: str
    differs_in: list[str]


def most_similar_store(
    headers: Mapping[str, Mapping[str, Any]],
    fingerprint: StoreFingerprint,
    ignored: Collection[str] = (),
) -> SimilarStore | None:
    """Return the store that differs in the fewest fields from a fingerprint, but in at least one.

    Args:
        headers: the headers of stores by name, from :func:`read_headers`.
        fingerprint: the fingerprint to compare with.
        ignored: names of fields that are not compared.

    Returns:
        The store; None if no store differs.
    """
    different = [
        SimilarStore(name, differs_in)
        for name, header in headers.items()
        if (differs_in := fingerprint.differs_in(header["fingerprint"], ignored))
    ]
    return min(different, key=lambda store: (len(store.differs_in), store.name), default=None)


# --------------------------------------------------------------------------------------------------


def _nearest(root: Path, fingerprint: StoreFingerprint) -> str:
    """Return the end of an error message: how the most similar store in a folder differs."""
    fill = "fill one: llm-embedder-data embed ... out=FOLDER"
    similar = most_similar_store(read_headers(root), fingerprint)
    if similar is None:
        return f" ({fill})"
    names = ", ".join(similar.differs_in)
    return f"; the most similar one there, {similar.name}, differs in {names} ({fill})"
