"""Refusals: errors that say what is wrong with a setting or a file, shown without a traceback."""

from __future__ import annotations

from llm_embedder_data.core.errors import ConfigError, DataError


def is_refusal(error: BaseException) -> bool:
    """Return whether an error is about a setting or a file, so that a traceback adds nothing.

    That holds for this package's own errors, Hydra's, OmegaConf's, and Lightning's
    ``MisconfigurationException``. Lightning's is known by its name, since importing Lightning only
    to show an error would take seconds.
    """
    if isinstance(error, ConfigError | DataError):
        return True
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    return any(kind.__name__ == "MisconfigurationException" for kind in type(error).__mro__)


def message(verb: str, error: BaseException, *, job: str = "") -> str:
    """Return the sentence with which the console shows a refusal.

    Control characters, which a terminal would obey, are escaped.

    Args:
        verb: name of the verb that was run.
        error: a refusal.
        job: prefix that names the job of a --multirun.
    """
    if isinstance(error, ConfigError | DataError):
        text = " ".join([str(error), *getattr(error, "__notes__", [])])
    else:
        text = sentence(error)
    text = f"llm-embedder-data {verb}: {job}{text}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def sentence(error: BaseException) -> str:
    """Return the messages of an error and its cause on one line."""
    messages = [str(error)] if error.__cause__ is None else [str(error), str(error.__cause__)]
    return " ".join(" ".join(dict.fromkeys(messages)).split())
