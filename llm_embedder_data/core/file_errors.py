"""What an OSError means and what the user can do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.platforms import open_files_limit

_CACHE = "data.cache_dir"
_ELSEWHERE = f"or give another {_CACHE}"

_REMEDIES = {
    errno.ENOSPC: f"make room, {_ELSEWHERE}",
    errno.EDQUOT: f"your quota on this disk is used up: delete files of yours there, {_ELSEWHERE}",
    errno.EFBIG: "larger than the limit of this process (ulimit -f) or of the file system: raise "
    f"it, {_ELSEWHERE}",
    errno.ENFILE: "the whole machine has too many files open (fs.file-max): end other processes, "
    "or raise the limit",
    errno.ENOMEM: "this process may not map more memory: raise its limit (ulimit -v) or the "
    "number of maps that the system allows (vm.max_map_count), or give fewer files",
    errno.EACCES: f"grant the permission, {_ELSEWHERE}",
    errno.EPERM: f"grant the permission, {_ELSEWHERE}",
    errno.EROFS: "give another data.cache_dir",
    errno.EISDIR: f"a folder has the name of a cache file: delete it, {_ELSEWHERE}",
    errno.ENOTDIR: f"a file has the name of a cache folder: delete it, {_ELSEWHERE}",
    errno.EEXIST: f"a file has the name of a cache folder: delete it, {_ELSEWHERE}",
    errno.ENAMETOOLONG: "give a data.cache_dir with a shorter path",
    errno.EIO: f"the disk reports an error: check it, {_ELSEWHERE}",
    errno.ESTALE: "the file server lost the file: start again",
}


def not_written(what: str, folder: str | os.PathLike[str], error: OSError) -> DataError:
    """Return the error to raise when something could not be written into a folder.

    Args:
        what: the subject of the message, on one line, such as "the cache of qa".
        folder: the folder that was written to.
        error: the error that the system raised.
    """
    said = f"{what} could not be written: {reason(error)} ({remedy(error)})"
    return DataError.at(os.fspath(folder), said)


@contextmanager
def writing(path: str | os.PathLike[str], setting: str) -> Iterator[None]:
    """Turn an OSError of the block into a DataError that says what to do.

    Args:
        path: the file or folder that is written.
        setting: the setting that names it.

    Raises:
        DataError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        said = f"cannot be written: {reason(error)} ({remedy(error, setting)})"
        raise DataError.at(os.fspath(path), said) from error


def reason(error: OSError) -> str:
    """Return the system's message for an error, without the file name."""
    number = error_number(error)
    return error.strerror or (errno.errorcode.get(number, "") if number else "") or str(error)


def remedy(error: OSError, setting: str = _CACHE) -> str:
    """Return what to do about an error, worded to stand in brackets in a message.

    Args:
        error: the error that the system raised.
        setting: the setting that names the folder in which the error arose.
    """
    number = error_number(error)
    if number == errno.EMFILE:
        limit = open_files_limit()
        allowed = "" if limit is None else f", {limit} now"
        return f"raise the limit of open files of this process (ulimit -n{allowed})"
    found = _REMEDIES.get(number or 0, f"repair the folder, {_ELSEWHERE}")
    return found if setting == _CACHE else found.replace(_CACHE, setting).replace(" cache ", " ")


def is_a_limit(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an error is due to a limit of this process or machine, not to the file."""
    limits = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return isinstance(error, OSError) and error_number(error) in limits


def error_number(error: OSError) -> int | None:
    """Return the error's number; for an error of pyarrow without one, guess it from the message."""
    if error.errno is not None:
        return error.errno
    return errno.ENOMEM if "Cannot allocate memory" in str(error) else None
