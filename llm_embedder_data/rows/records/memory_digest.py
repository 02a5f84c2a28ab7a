"""The digest of rows in memory."""

from __future__ import annotations

from typing import Any

import orjson
import xxhash

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.class_names import NamedClass
from llm_embedder_data.rows.records.memory_records import MemoryRecords

# orjson would write a named class as its number, and two sets with other names would be the same.
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


def memory_digest(data: Any, name: str) -> str:
    """Return the 128-bit digest of the rows of data in memory, in hexadecimal.

    It only depends on names and values, not on the chunks of a table.

    Args:
        data: a Dataset, a DataFrame, an Arrow table, or a list of dicts.
        name: the name of the data in messages.

    Raises:
        DataError: a row holds a value that has no digest.
    """
    hashed = xxhash.xxh3_128()
    for record in MemoryRecords(name, data=data):
        try:
            hashed.update(orjson.dumps(record.value, default=_plain, option=_OPTIONS))
        except (TypeError, ValueError) as error:  # a lone surrogate, an integer over 64 bits
            try:
                hashed.update(repr(record.value).encode("utf-8", "surrogatepass"))
            except (ValueError, RecursionError):
                raise DataError.at(
                    name, f"it holds a value that cannot be read: {error}", row=record.row
                ) from error
        hashed.update(b"\n")
    return str(hashed.hexdigest())


def _plain(value: Any) -> Any:
    """Return a value that orjson cannot write as a value that it can write."""
    if isinstance(value, NamedClass):
        return repr(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str):
        return str(value)
    return int(value) if isinstance(value, int) else repr(value)
