"""The error about a file that the system cannot read, or that is damaged."""

from __future__ import annotations

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.file_errors import is_a_limit, reason, remedy


def unreadable(path: str, error: Exception) -> DataError:
    """Return the error to raise for a file that cannot be read or decompressed.

    Args:
        path: the file.
        error: what reading it raised.
    """
    if isinstance(error, FileNotFoundError):
        return DataError.at(path, "there is no such file (correct the path)")
    if is_a_limit(error):
        return DataError.at(path, f"cannot be read: {reason(error)} ({remedy(error)})")
    if isinstance(error, OSError) and error.errno is not None:
        return DataError.at(path, f"cannot be read: {reason(error)} (correct the path)")
    return DataError.at(path, f"cannot be read: {error} (is it complete?)")
