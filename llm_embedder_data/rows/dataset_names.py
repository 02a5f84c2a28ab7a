"""Datasets by name, where no two may have the same one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


class Named(Protocol):
    """A source, or a dataset that was built of one."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=Named)


def by_unique_name(datasets: Iterable[T], key: str) -> dict[str, T]:
    """The datasets by name, in their order.

    Names that look alike once control characters are shown count as the same, for metrics and
    reports show them so.

    Args:
        datasets: any that have a name and files.
        key: of the setting that gave them, for messages.

    Raises:
        ConfigError: two of one name.
    """
    found: dict[str, T] = {}
    seen: dict[str, T] = {}
    for one in datasets:
        shown = one_line(one.name)
        if shown in seen:
            raise ConfigError(
                f"{key}: two datasets are called {shown!r}, {_origin(seen[shown])} and "
                f"{_origin(one)} (give one of them another name, as mappings {{name: path}} do; "
                "rows of several tasks in one source are datasets called name:task)"
            )
        seen[shown] = found[one.name] = one
    return found


def _origin(one: Named) -> str:
    task = getattr(one, "task", None)
    files = ", ".join(map(one_line, one.files[:3])) + ", ..." * (len(one.files) > 3)
    return (f"that of the task {task!r} of " if task is not None else "that of ") + files
