"""Refusals: errors about a setting or a file, which the console prints without a traceback."""

from __future__ import annotations

import errno
from typing import TypeGuard

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.file_errors import reason
from llm_embedder_data.core.printable import one_line


def is_refusal(error: BaseException) -> bool:
    """Return whether an error is about a setting or a file, so that a traceback adds nothing.

    These are the errors of this package, Hydra and OmegaConf, errors of a full disk, which any
    library may raise, and Lightning's ``MisconfigurationException``. The last is recognized by its
    name, because importing Lightning just to print an error would take seconds.
    """
    if isinstance(error, ConfigError | DataError) or _is_of_full_disk(error):
        return True
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)


def message(verb: str, error: BaseException, *, job: str = "") -> str:
    """Return the message of a refusal for the console, with control characters escaped.

    Args:
        verb: name of the verb.
        error: a refusal.
        job: prefix that names the job of a --multirun.
    """
    if isinstance(error, ConfigError | DataError):
        text = " ".join([str(error), *getattr(error, "__notes__", [])])
    elif _is_of_full_disk(error):
        file = "a file of this run" if error.filename is None else one_line(error.filename)
        text = f"{file} could not be written: {reason(error)} (make room)"
    else:
        text = sentence(error)
    text = f"llm-embedder-data {verb}: {job}{text}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _is_of_full_disk(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def sentence(error: BaseException) -> str:
    """Return the messages of an error and of its cause on a single line."""
    messages = [str(error)] if error.__cause__ is None else [str(error), str(error.__cause__)]
    return " ".join(" ".join(dict.fromkeys(messages)).split())
