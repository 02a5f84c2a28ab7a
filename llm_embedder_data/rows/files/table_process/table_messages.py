"""What the process that reads tables and the process that asks say to each other.

A request is one line of JSON. Each answer begins with a letter and the length of its content in
8 bytes.
"""

from __future__ import annotations

import pyarrow as pa

READY = b"R"  # the request was received
BATCH = b"B"  # an Arrow stream
NAMES = b"N"  # the columns' names, as JSON
ERROR = b"E"  # [kind, sentence], as JSON: what is wrong with the file; nothing follows
DONE = b"D"  # nothing follows
HEADER_BYTES = 9  # the letter and the length

# CPU time allowed from one slice to the next: so many seconds, plus one per so many bytes of file.
CPU_SECONDS = 8
BYTES_PER_SECOND = 1 << 20


class Unreadable(Exception):
    """A file that cannot be used; the message is a sentence with a remedy."""


def serialized(batch: pa.RecordBatch) -> pa.Buffer:
    """Return a batch as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
