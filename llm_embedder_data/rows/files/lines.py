"""Reads the lines of a file, in linear time, and in memory for its longest line."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from llm_embedder_data.rows.files.compression import opened
from llm_embedder_data.rows.files.raw_content import open_content
from llm_embedder_data.rows.files.signatures import BYTE_ORDER_MARK

# The longest line that can be read, in bytes: the 32-bit offsets of Arrow's strings allow no more.
LONGEST_LINE = (1 << 31) - (4 << 20)

# Bytes to read at a time when counting lines, or from a line that is longer than a block.
_READ_BYTES = 1 << 20

# Bytes to search at a time for a line break; they fit into the processor's cache.
_SEARCHED_BYTES = 1 << 16


def line_blocks(path: str, size: int) -> Iterator[memoryview]:
    """Yield blocks of whole lines of about ``size`` bytes; a longer line is a block by itself.

    Raises:
        ValueError: a line is longer than :data:`LONGEST_LINE`.
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    with opened(path) as file:
        rest = file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        while True:
            # Only the beginning of the next block's first line is copied. Arrow's pool reuses the
            # memory of released blocks, while new memory of the system would be zeroed first.
            block = memoryview(pa.allocate_buffer(size + len(rest))).cast("B")
            block[: len(rest)] = rest
            n_read = _fill(file, block[len(rest) :])
            end = len(rest) + n_read
            whole = _end_of_last_line(block[:end]) if n_read else end
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
    """Return the line, counted from 1, by the number of the record, counted from 0.

    Blank lines are not records. Records that the file does not have are left out.

    Args:
        path: a file with a record per line.
        rows: the numbers of the records to look for.

    Raises:
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    found: dict[int, int] = {}
    wanted = sorted(set(rows), reverse=True)
    row, line, is_blank = -1, 1, True
    with opened(path) as file:
        rest = file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
        while wanted and (block := rest or file.read(_READ_BYTES)):
            rest = b""
            for number, part in enumerate(block.split(b"\n")):
                if number:
                    line, is_blank = line + 1, True
                if is_blank and part and not part.isspace():
                    is_blank, row = False, row + 1
                    if wanted and row == wanted[-1]:
                        found[wanted.pop()] = line
    return found


def beginnings_of_lines(path: str, lines: Collection[int], n_bytes: int) -> dict[int, bytes]:
    """Return the beginnings of some lines, without line breaks, by the number of the line.

    Args:
        path: the file.
        lines: numbers of lines, counted from 1; lines that the file does not have are left out.
        n_bytes: the maximum length of a beginning.

    Raises:
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    found: dict[int, bytes] = {}
    wanted = sorted(set(lines), reverse=True)
    line, is_start = 0, True
    with open_content(path) as file:
        while wanted and (part := file.readline(_READ_BYTES)):
            line += is_start
            if is_start and line == wanted[-1]:
                found[wanted.pop()] = part[:n_bytes].rstrip(b"\r\n")
            is_start = part.endswith(b"\n")
    return found


def head_lines(path: str, n_bytes: int) -> list[bytes]:
    """Return the complete lines in the first ``n_bytes`` of a file, without line breaks.

    Raises:
        OSError: the file cannot be read. :class:`EOFError` if compressed data ends too early.
    """
    with opened(path) as file:
        head = file.read(n_bytes)
        is_all = len(head) < n_bytes
    lines: list[bytes] = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    return lines if is_all else lines[:-1]


# --------------------------------------------------------------------------------------------------


def _fill(file: pa.NativeFile, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; return the number of bytes read."""
    n_bytes = 0
    while n_bytes < len(buffer):
        n_read = file.readinto(buffer[n_bytes:])
        if not n_read:
            break
        n_bytes += n_read
    return n_bytes


def _long_line(file: pa.NativeFile, beginning: memoryview) -> tuple[memoryview, bytes]:
    """Read the rest of a line; return the line with its line break, and the bytes read after it.

    Raises:
        ValueError: the line is longer than :data:`LONGEST_LINE`.
    """
    # A large bytearray grows by remapping pages, without a copy, and returns its memory when freed.
    line = bytearray(beginning)
    part = memoryview(bytearray(_READ_BYTES))
    while n_read := _fill(file, part):
        end = _end_of_first_line(part[:n_read])
        line += part[: n_read if end is None else end]
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE:,} bytes (split it into rows)")
        if end is not None:
            return memoryview(line), part[end:n_read].tobytes()
    return memoryview(line), b""


def _end_of_first_line(content: memoryview) -> int | None:
    """Return the index after the first line break, or None."""
    for start in range(0, len(content), _SEARCHED_BYTES):
        found = content[start : start + _SEARCHED_BYTES].tobytes().find(b"\n")
        if found >= 0:
            return start + found + 1
    return None


def _end_of_last_line(block: memoryview) -> int:
    """Return the index after the last line break, or 0."""
    start = len(block)
    while start > 0:
        end, start = start, max(0, start - _SEARCHED_BYTES)
        found = block[start:end].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0
