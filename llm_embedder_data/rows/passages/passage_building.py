"""Writes the passages of a corpus to a file that can be memory-mapped; cached by content.

Texts are written as they are read. Everything else goes to temporary files first, so that memory
does not grow with the corpus. Ids are sorted by their hashes, a part at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from llm_embedder_data.core.array_files import arrays_end
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import reason, remedy
from llm_embedder_data.core.files import locked
from llm_embedder_data.core.hash_order import in_order, runs
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.core.sealed_files import HashedFile, is_whole, sealed_file
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.passages.passage_files import PASSAGES_VERSION, PassageFile
from llm_embedder_data.rows.records.raw_files import OPENED, RawRecord
from llm_embedder_data.rows.records.rejected_records import (
    GATHERED,
    MOST_REJECTED,
    gathering,
    note_rejected,
)
from llm_embedder_data.rows.schema.reading import make_folder

_PASSAGES_AT_ONCE = 2048
_COPY_BYTES = 16 << 20

# Why a passage cannot be found by its id. Corpora whose bad rows are skipped count these reasons.
_SAME_TEXT = "passages that repeat an earlier one, id and text"
_OTHER_TEXT = "passages with the id of an earlier one and another text, the first kept"
_SURROGATE = "passages with a lone surrogate, half of a character such as an emoji"


class Passage(NamedTuple):
    """A passage of a corpus.

    Attributes:
        id: the id, as text.
        text: the text, made with the corpus's template.
        at: the file and the record that the passage came from; None if unknown.
    """

    id: str
    text: str
    at: tuple[str, RawRecord] | None


def passages_in(
    folder: Path,
    digests: Mapping[str, str],
    settings: Any,
    read: Callable[[], Iterable[Passage]],
    *,
    name: str,
    skips_bad_rows: bool,
    found: Callable[[], list[Any]] = list,
) -> PassageFile:
    """Return the passages of a corpus from the cache; read and write them if they are not there.

    Args:
        folder: the folder of all caches.
        digests: the digests of the corpus's files, by path. The cache file's name depends on the
            digests alone; the paths are stored in its header, as ``digested``.
        settings: everything else that decides what is read.
        read: returns the passages.
        name: the name of the corpus, for messages.
        skips_bad_rows: whether bad passages, and ids that appear twice, are counted instead of
            being errors.
        found: returns what reading found, as values that JSON can hold; called after reading.

    Raises:
        DataError: a passage is bad or an id appears twice, and bad rows are errors; or the cache
            cannot be written.
    """
    identity = (PASSAGES_VERSION, list(digests.values()), settings, skips_bad_rows)
    path = folder / f"passages-{xxhash.xxh3_128_hexdigest(repr(identity).encode())}.bin"
    if not is_whole(path):
        make_folder(folder)
        with locked(path):
            if not is_whole(path):
                try:
                    with ExitStack() as stack, sealed_file(path) as file, gathering() as rejected:
                        build = _Build(file, folder, stack, name, skips_bad_rows)
                        build.run(
                            read(),
                            lambda: {
                                "digested": list(digests),
                                "found": found(),
                                "rejected": rejected.as_kept(),
                            },
                        )
                except OSError as error:
                    raise DataError.at(
                        str(folder),
                        f"the cache cannot be written: {reason(error)} ({remedy(error)})",
                    ) from error
    passages = PassageFile(path)
    if (opened := OPENED.get()) is not None:  # cached passages depend on these files too
        opened.update(path for path in digests if Path(path).is_file())
    if (gathered := GATHERED.get()) is not None:
        paths = dict(zip(passages.header["digested"], digests, strict=True))
        gathered.add_kept(passages.header["rejected"], paths)
    return passages


# --------------------------------------------------------------------------------------------------

_SPOOLED = {
    "text_bounds": "int64",
    "ids": "uint8",
    "id_bounds": "int64",
    "text_ids": "int64",
    "first_same": "int64",
    "id_hashes": "uint64",
    "id_numbers": "int64",
}
# Only needed while the file is written: a 128-bit hash of each text, the ids' hashes in the order
# of the passages, and the locations of the passages.
_PASSING = {
    "digests": "uint64",
    "hashes": "uint64",
    "file": "int32",
    "record": "int64",
    "line": "int64",
}


class _Build:
    """Writes the file of a corpus."""

    def __init__(
        self, file: HashedFile, folder: Path, stack: ExitStack, name: str, skips_bad_rows: bool
    ) -> None:
        self._file, self._name, self._skips = file, name, skips_bad_rows
        self._types = {**_SPOOLED, **_PASSING}
        self._spools: dict[str, IO[bytes]] = {
            name: stack.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115
            for name in self._types
        }
        self._files: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._n_passages = 0

    def run(self, passages: Iterable[Passage], header: Callable[[], dict[str, Any]]) -> None:
        for name in ("text_bounds", "id_bounds"):
            self._write(name, np.zeros(1, np.int64))
        for block in _blocks(self._sound(passages)):
            self._add(block)
        n_text_bytes = self._file.tell()
        self._index_ids()
        self._find_same_texts()
        arrays = {"texts": ("uint8", 0, n_text_bytes)}
        for name, type_ in _SPOOLED.items():
            self._file.write(bytes(-self._file.tell() % 64))  # align arrays to cache lines
            start, spool = self._file.tell(), self._spools[name]
            spool.seek(0)
            while content := spool.read(_COPY_BYTES):
                self._file.write(content)
            arrays[name] = (type_, start, self._file.tell())
        more = {"files": list(self._files), "counts": dict(self._counts), **header()}
        self._file.write(arrays_end(arrays, **more))

    def _sound(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        for passage in passages:
            try:
                passage.text.encode()
            except UnicodeEncodeError:
                if not self._skips:
                    file, record = passage.at or (self._name, None)
                    raise DataError.at(
                        file,
                        f"passage {shown(passage.id)} holds a lone surrogate, half of a character "
                        "such as an emoji (write both halves of its \\u escape, or take it out; "
                        "data.on_bad_row=skip leaves such passages out)",
                        row=None if record is None else record.row,
                        line=None if record is None else record.line,
                    ) from None
                self._counts[_SURROGATE] += 1
                if passage.at is not None:
                    file, record = passage.at
                    note_rejected(file, record.row, record.line, _SURROGATE, record.value)
                continue
            yield passage

    def _add(self, block: list[Passage]) -> None:
        texts = [passage.text for passage in block]
        as_bytes = [text.encode() for text in texts]
        names = [passage.id.encode("utf-8", "surrogatepass") for passage in block]
        self._write_bounds("text_bounds", self._file.tell(), as_bytes)
        self._file.write(b"".join(as_bytes))
        self._write_bounds("id_bounds", self._spools["ids"].tell(), names)
        self._spools["ids"].write(b"".join(names))
        self._write("text_ids", text_ids(texts))
        digests = b"".join(map(xxhash.xxh3_128_digest, as_bytes))
        self._write("digests", np.frombuffer(digests, np.uint64))
        self._write("hashes", np.array(list(map(xxhash.xxh3_64_intdigest, names)), np.uint64))
        numbers = range(self._n_passages, self._n_passages + len(block))
        self._write("first_same", np.array(numbers))
        at = [
            (-1, -1, -1)
            if passage.at is None
            else (
                self._files.setdefault(passage.at[0], len(self._files)),
                passage.at[1].row,
                -1 if passage.at[1].line is None else passage.at[1].line,
            )
            for passage in block
        ]
        for name, values in zip(("file", "record", "line"), zip(*at, strict=True), strict=True):
            self._write(name, np.array(values))
        self._n_passages += len(block)

    def _index_ids(self) -> None:
        """Write the ids' hashes in sorted order, and the number of the first passage of each id.

        Raises:
            DataError: an id appears twice, and bad rows are errors.
        """
        n_repeated, first_repeated = 0, (self._n_passages, 0)
        repeated: list[tuple[int, str]] = []
        names, bounds = self._read("ids"), self._read("id_bounds")
        digests = self._read("digests").reshape(-1, 2)
        for hashes, numbers in in_order(self._read("hashes")):
            stays = np.ones(len(numbers), bool)
            for run in runs(hashes):
                known: dict[bytes, int] = {}
                for position in run:
                    number = int(numbers[position])
                    name = names[bounds[number] : bounds[number + 1]].tobytes()
                    first = known.setdefault(name, number)
                    if first == number:
                        continue
                    stays[position] = False
                    n_repeated += 1
                    first_repeated = min(first_repeated, (number, first))
                    is_same = (digests[number] == digests[first]).all()
                    reason = _SAME_TEXT if is_same else _OTHER_TEXT
                    self._counts[reason] += 1
                    repeated.append((number, reason))
                    if len(repeated) > 2 * MOST_REJECTED:
                        repeated = sorted(repeated)[:MOST_REJECTED]
            self._write("id_hashes", hashes[stays])
            self._write("id_numbers", numbers[stays])
        if n_repeated and not self._skips:
            raise self._repeated(*first_repeated, n_repeated)
        for number, reason in sorted(repeated)[:MOST_REJECTED]:
            name = names[bounds[number] : bounds[number + 1]].tobytes()
            note_rejected(*self._at(number), reason, name)
        if (gathered := GATHERED.get()) is not None:
            gathered.n_records += max(0, n_repeated - MOST_REJECTED)

    def _repeated(self, number: int, first: int, n_repeated: int) -> DataError:
        names, bounds, digests = (self._read(name) for name in ("ids", "id_bounds", "digests"))
        name = str(names[bounds[number] : bounds[number + 1]].tobytes(), "utf-8", "surrogatepass")
        pairs = digests.reshape(-1, 2)
        text = "the same text" if (pairs[number] == pairs[first]).all() else "another text"
        file, row, line = self._at(number)
        before, row_before, line_before = self._at(first)
        position = f"row {row_before}" if line_before is None else f"line {line_before}"
        where = position if before == file else f"{before}, {position}"
        count = f"; in {n_repeated:,} passages" if n_repeated > 1 else ""
        return DataError.at(
            file,
            f"the id {shown(name)} stands in the corpus twice, here with {text} as at {where}"
            f"{count} (take one out, or keep the first with data.on_bad_row=skip)",
            row=row,
            line=line,
        )

    def _at(self, number: int) -> tuple[str, int | None, int | None]:
        file, row, line = (int(self._read(name)[number]) for name in ("file", "record", "line"))
        if file < 0:
            return self._name, None, None
        return list(self._files)[file], row, None if line < 0 else line

    def _find_same_texts(self) -> None:
        """Write, for each passage, the number of the first passage with the same text."""
        if not self._n_passages:
            return
        digests = self._read("digests").reshape(-1, 2)
        self._spools["first_same"].flush()
        first_same = np.memmap(self._spools["first_same"], np.int64, "r+")
        for hashes, numbers in in_order(self._read("text_ids").view(np.uint64)):
            for run in runs(hashes):
                known: dict[bytes, int] = {}
                for position in run:
                    number = int(numbers[position])
                    first_same[number] = known.setdefault(digests[number].tobytes(), number)
        first_same.flush()

    def _write(self, name: str, array: NDArray[Any]) -> None:
        self._spools[name].write(np.ascontiguousarray(array, self._types[name]).data)

    def _write_bounds(self, name: str, start: int, parts: list[bytes]) -> None:
        sizes = np.fromiter(map(len, parts), np.int64, len(parts))
        self._write(name, start + np.cumsum(sizes))

    def _read(self, name: str) -> NDArray[Any]:
        spool = self._spools[name]
        spool.flush()
        if not spool.tell():
            return np.zeros(0, self._types[name])
        return np.memmap(spool, self._types[name], "r").view(np.ndarray)


def _blocks(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    block: list[Passage] = []
    for passage in passages:
        block.append(passage)
        if len(block) == _PASSAGES_AT_ONCE:
            yield block
            block = []
    if block:
        yield block
