"""The lines of a file, in time and memory that grow with the file's size and its longest line."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from llm_embedder_data.rows.containers import BYTE_ORDER_MARK, opened

# The longest line that is read, bytes: Arrow's strings end there.
LONGEST_LINE = (1 << 31) - (4 << 20)

# Read at a time, bytes, of a line that is longer than a block, and where lines are counted.
_LONG_PART = 1 << 20

# Searched for a line break at a time, bytes: what the processor's cache holds.
_SEARCHED_BYTES = 1 << 16


def line_blocks(path: str, size: int) -> Iterator[memoryview]:
    """Whole lines of a file, as many as ``size`` bytes hold, or one that is longer.

    Raises:
        ValueError: a line is longer than :data:`LONGEST_LINE`.
        OSError: the file cannot be read. :class:`EOFError` where what is packed ends too early.
    """
    with opened(path) as file:
        rest = file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        while True:
            # The lines are never copied: only what was read of the next one is. And Arrow gives the
            # memory of blocks that are done again, where the system's would be cleared first.
            block = memoryview(pa.allocate_buffer(size + len(rest))).cast("B")
            block[: len(rest)] = rest
            n_read = _fill(file, block[len(rest) :])
            end = len(rest) + n_read
            whole = _end_of_lines(block[:end]) if n_read else end
            if whole or not n_read:
                rest = block[whole:end].tobytes()
                if whole:
                    yield block[:whole]
                if not n_read:
                    return
                continue
            block, rest = _long_line(file, block[:end])
            yield block


def lines_of_rows(path: str, rows: Collection[int]) -> dict[int, int]:
    """The line, counted from 1, on which each of some records stands, for those that are there.

    Records are counted from 0; blank lines are none.
    """
    found: dict[int, int] = {}
    wanted = sorted(set(rows), reverse=True)
    row, line, blank = -1, 1, True
    with opened(path) as file:
        rest = file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        while wanted and (block := rest or file.read(_LONG_PART)):
            rest = b""
            first, *others = block.split(b"\n")
            for number, part in enumerate((first, *others)):
                if number:
                    line, blank = line + 1, True
                if blank and part and not part.isspace():
                    blank, row = False, row + 1
                    if wanted and row == wanted[-1]:
                        found[wanted.pop()] = line
    return found


def head_lines(path: str, n_bytes: int) -> list[bytes]:
    """The whole lines among the first bytes of a file; the last one is left out if it is cut off.

    Raises:
        OSError: the file cannot be read. :class:`EOFError` where what is packed ends too early.
    """
    with opened(path) as file:
        head = file.read(n_bytes)
        is_all = len(head) < n_bytes
    lines: list[bytes] = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    return lines if is_all else lines[:-1]


def _fill(file: pa.NativeFile, into: memoryview) -> int:
    """Read until the memory is full or the file ends; how many bytes were read."""
    done = 0
    while done < len(into):
        n_read = file.readinto(into[done:])
        if not n_read:
            break
        done += n_read
    return done


def _long_line(file: pa.NativeFile, beginning: memoryview) -> tuple[memoryview, bytes]:
    """The line that begins so, with its line break, and what was read behind it."""
    # The system moves pages where such memory grows, and has them back at once when it goes.
    line = bytearray(beginning)
    part = memoryview(bytearray(_LONG_PART))
    while n_read := _fill(file, part):
        end = _line_break(part[:n_read])
        line += part[: n_read if end is None else end]
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE:,} bytes (split it into rows)")
        if end is not None:
            return memoryview(line), part[end:n_read].tobytes()
    return memoryview(line), b""


def _line_break(content: memoryview) -> int | None:
    """Behind the first line break, or None."""
    for start in range(0, len(content), _SEARCHED_BYTES):
        found = content[start : start + _SEARCHED_BYTES].tobytes().find(b"\n")
        if found >= 0:
            return start + found + 1
    return None


def _end_of_lines(block: memoryview) -> int:
    """Behind the last line break, 0 where there is none."""
    start = len(block)
    while start > 0:
        end, start = start, max(0, start - _SEARCHED_BYTES)
        found = block[start:end].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0
