"""Unique names of datasets, made from the paths of their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.files.file_formats import plain_stem


class Named(Protocol):
    """A source, or a dataset that was built from one."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=Named)


def names_from_paths(files: Sequence[str]) -> list[str]:
    """Return a unique name for each file: its folder's name, plus more of its path if necessary.

    A path that is listed twice gets two names, ``name`` and ``name#2``.

    >>> names_from_paths(["/data/qa/train.jsonl", "/data/tool/train.jsonl"])
    ['qa', 'tool']
    >>> names_from_paths(["/data/qa/a.jsonl", "/data/qa/b.jsonl", "/data/tool/a.jsonl"])
    ['qa/a', 'qa/b', 'tool']
    """
    paths = {file: Path(file) for file in files}
    stems = Counter((path.parent, plain_stem(path)) for path in paths.values())
    names = {file: path.parent.name or plain_stem(path) for file, path in paths.items()}
    for parts in range(1, max((len(path.parts) for path in paths.values()), default=1)):
        n_files = Counter(names.values())
        for file, path in paths.items():
            if n_files[names[file]] > 1:
                folders = [part.strip("/") for part in path.parent.parts[-parts:]]
                stem = plain_stem(path)  # files that differ only in their endings keep these
                names[file] = "/".join(
                    [*folders, stem if stems[path.parent, stem] == 1 else path.name]
                )
    return _numbered([one_line(names[file]) for file in files])


def by_unique_name(datasets: Iterable[T], setting: str) -> dict[str, T]:
    """Return datasets by name, in their order.

    Names that look the same once control characters are escaped count as equal, because metrics and
    reports show them that way.

    Args:
        datasets: sources or datasets.
        setting: the setting that named them, for messages.

    Raises:
        ConfigError: two have the same name.
    """
    found: dict[str, T] = {}
    seen: dict[str, T] = {}
    for dataset in datasets:
        shown = one_line(dataset.name)
        if shown in seen:
            raise ConfigError(
                f"{setting}: two datasets are called {shown!r}, {_origin(seen[shown])} and "
                f"{_origin(dataset)} (give one of them another name, as mappings {{name: path}} "
                "do; rows of several tasks in one source are datasets called name:task)"
            )
        seen[shown] = found[dataset.name] = dataset
    return found


# --------------------------------------------------------------------------------------------------


def _numbered(names: Iterable[str]) -> list[str]:
    """Return the names, with ``#2``, ``#3``, ... after those that are repeated.

    Files that are listed twice share a name, and so do a.json.gz and a.json.jsonl of one folder. A
    folder may itself be called like another's second dataset, such as qa#2.
    """
    taken: set[str] = set()
    unique = []
    for base in names:
        number = 1
        while (name := f"{base}#{number}".removesuffix("#1")) in taken:
            number += 1
        taken.add(name)
        unique.append(name)
    return unique


def _origin(dataset: Named) -> str:
    task = getattr(dataset, "task", None)
    files = ", ".join(map(one_line, dataset.files[:3])) + ", ..." * (len(dataset.files) > 3)
    return (f"one from task {task!r} of " if task is not None else "one from ") + files
