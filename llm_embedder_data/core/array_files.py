"""Named NumPy arrays in one sealed file, opened memory-mapped.

A file holds the arrays, then a JSON header that describes them, then the length of the header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llm_embedder_data.core.sealed_files import mapped

_LENGTH_BYTES = 8


def mapped_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the memory-mapped arrays of a sealed file by name, and its header.

    Raises:
        OSError: the file cannot be read, or the system's limit of mapped files is reached.
    """
    content = mapped(path)
    end = len(content) - _LENGTH_BYTES
    start = end - int.from_bytes(content[end:].tobytes(), "little")
    header: dict[str, Any] = json.loads(content[start:end].tobytes())
    arrays = {
        name: content[first:last].view(dtype)
        for name, (dtype, first, last) in header["arrays"].items()
    }
    return arrays, header


def arrays_end(arrays: Mapping[str, tuple[str, int, int]], **more: Any) -> bytes:
    """Return the bytes that follow the arrays in a file: the header and its length.

    Args:
        arrays: (dtype, first byte, end byte), by array name.
        more: further entries of the header; their values must be JSON-serializable.
    """
    text = json.dumps({"arrays": arrays, **more}).encode()
    return text + len(text).to_bytes(_LENGTH_BYTES, "little")
