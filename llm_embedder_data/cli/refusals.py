"""Refusals: errors about a setting or a file, which the console prints without a traceback."""

from __future__ import annotations

from llm_embedder_data.core.errors import ConfigError, DataError


def is_refusal(error: BaseException) -> bool:
    """Return whether an error is about a setting or a file, so that a traceback adds nothing.

    These are the errors of this package, Hydra and OmegaConf, and Lightning's
    ``MisconfigurationException``. The last is recognized by its name, because importing Lightning
    just to print an error would take seconds.
    """
    if isinstance(error, ConfigError | DataError):
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
    else:
        text = sentence(error)
    text = f"llm-embedder-data {verb}: {job}{text}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def sentence(error: BaseException) -> str:
    """Return the messages of an error and of its cause on a single line."""
    messages = [str(error)] if error.__cause__ is None else [str(error), str(error.__cause__)]
    return " ".join(" ".join(dict.fromkeys(messages)).split())
