"""File names for datasets, whose own names may hold anything."""

from __future__ import annotations

from collections.abc import Iterable

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def file_names(datasets: Iterable[str], ending: str, setting: str) -> dict[str, str]:
    """Return a file name for each dataset, in which signs that folders may not hold become "_".

    Args:
        datasets: names of datasets, each once.
        ending: of the files.
        setting: by which the files are written, for messages.

    Raises:
        ConfigError: two datasets would have the same file, also where case makes no difference.
    """
    names = {name: _plain(name) + ending for name in datasets}
    taken: dict[str, str] = {}
    for name, file in names.items():
        other = taken.setdefault(file.casefold(), name)
        if other != name:
            raise ConfigError(
                f"{setting}: datasets {other!r} and {name!r} would both be written to "
                f"{one_line(file)} (give one another name, as a key of data.train_data)"
            )
    return names


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)
