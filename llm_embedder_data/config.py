"""Where conf/ lives, and how a wrong setting is reported."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import llm_embedder_data.conf

# conf/ is the package llm_embedder_data.conf: a folder beside the package in a checkout, inside it in a wheel.
CONF_DIR = Path(llm_embedder_data.conf.__path__[0])


class ConfigError(ValueError):
    """A setting that cannot be used: which one, what was found, what is allowed."""


def check_choice(value: Any, allowed: Any, key: str) -> None:
    """Refuse a value outside a ``Literal`` or a sequence of names.

    Raises:
        ConfigError: naming the key, the value, the choices and the nearest spelling.
    """
    choices = [str(choice) for choice in (get_args(allowed) or allowed)]
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r}: expected one of {', '.join(choices)}{did_you_mean(value, choices)}"
        )


def did_you_mean(value: Any, choices: Any) -> str:
    """``"; did you mean 'x'?"``, or nothing where no choice is near."""
    near = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
