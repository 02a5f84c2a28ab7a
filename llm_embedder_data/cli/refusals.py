"""Refusals: errors about a setting or a file, which the console prints without a traceback."""

from __future__ import annotations

import errno
import linecache
from collections.abc import Sequence
from typing import TypeGuard

from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.core.errors import ConfigError, DataError, did_you_mean
from llm_embedder_data.core.file_errors import reason
from llm_embedder_data.core.printable import one_line


def is_refusal(error: BaseException) -> bool:
    """Return whether an error is about a setting or a file, so that a traceback adds nothing.

    These are the errors of this package, Hydra and OmegaConf, errors of a full disk, which any
    library may raise, and Lightning's own: ``MisconfigurationException``, and what its code raises
    by a statement, such as a ValueError for ``val_check_interval`` (Lightning 2.6). The first is
    recognized by its name, because importing Lightning just to print an error would take seconds.
    """
    if isinstance(error, ConfigError | DataError) or _is_of_full_disk(error):
        return True
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    if any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__):
        return True
    return isinstance(error, ValueError | TypeError | RuntimeError) and _is_raised_by_lightning(
        error
    )


def _is_raised_by_lightning(error: BaseException) -> bool:
    """Return whether a ``raise`` of Lightning's code raised an error, and no bug or user's code."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    module = str(last.tb_frame.f_globals.get("__name__"))
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno)
    return module.startswith(("lightning.", "pytorch_lightning.")) and line.lstrip().startswith(
        "raise "
    )


def message(verb: str, error: BaseException, *, job: str = "") -> str:
    """Return the message of a refusal for the console, with control characters escaped.

    Args:
        verb: name of the verb.
        error: a refusal.
        job: prefix that names the job of a --multirun.
    """
    if isinstance(error, ConfigError | DataError):
        text = str(error)
    elif _is_of_full_disk(error):
        file = "a file of this run" if error.filename is None else one_line(error.filename)
        advice = (
            "larger than the limit of this process (ulimit -f) or of the file system: raise it"
            if error.errno == errno.EFBIG
            else "make room"
        )
        text = f"{file} could not be written: {reason(error)} ({advice})"
    else:
        text = sentence(error)
    text = " ".join([text, *getattr(error, "__notes__", [])])
    text = f"llm-embedder-data {verb}: {job}{text}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _is_of_full_disk(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sentence(error: BaseException) -> str:
    """Return the messages of an error and of its cause on a single line.

    Hydra's message about a missing file of a group lists its whole search path; here, the names
    that the group has take its place.
    """
    from hydra.errors import MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_file(error.missing_cfg_file, error.options)
    messages = [str(error)] if error.__cause__ is None else [str(error), str(error.__cause__)]
    lines = [line.strip() for text in dict.fromkeys(messages) for line in text.splitlines()]
    # OmegaConf adds where in its own structures the error arose.
    said = [line for line in lines if not line.startswith(("full_key: ", "object_type="))]
    return " ".join(" ".join(said).split())


def _missing_file(file: str, options: Sequence[str] | None) -> str:
    group, _, name = file.removesuffix(".yaml").rpartition("/")
    if not group:
        return f"there is no configuration {name!r} (--config-dir=FOLDER adds a folder of your own)"
    names = options or sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    there = f"; there are {', '.join(names)}" if names else ""
    return (
        f"{group}={name}: the group {group} has no {name!r}{there}{did_you_mean(name, names)} "
        "(--config-dir=FOLDER adds files of your own)"
    )
