"""The messages between the process that reads tables and the process that asks for them.

A request is a line of JSON. An answer is a letter, the length of its content as 8 bytes
(little-endian), and the content.
"""

from __future__ import annotations

import pyarrow as pa

READY = b"R"  # the request was received
BATCH = b"B"  # an Arrow stream
PROGRESS = b"P"  # the share of the file that was read so far, as JSON
NAMES = b"N"  # the columns' names, as JSON
ERROR = b"E"  # [kind, sentence], as JSON: what is wrong with the file; ends the answers
DONE = b"D"  # ends the answers
HEADER_BYTES = 9  # the letter and the length

# CPU time allowed between two slices: CPU_SECONDS, plus a second per BYTES_PER_SECOND of the file.
CPU_SECONDS = 8
BYTES_PER_SECOND = 1 << 20


class Unreadable(Exception):
    """A file cannot be used; the message is a sentence with a remedy."""


def serialized(batch: pa.RecordBatch) -> pa.Buffer:
    """Return a batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
