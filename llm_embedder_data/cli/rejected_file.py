"""The file of rejected rows that ``prepare`` and ``convert`` write beside what they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.cli.output_files import (
    check_output_file,
    in_made_folder,
    path_of_rejected,
)
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.inspection.rejected_rows import RejectedRows, write_rejected_rows


def check_rejected_file(setting: Any) -> None:
    """Refuse a path that cannot be written; ``auto`` is none.

    Args:
        setting: value of the setting ``rejected``.

    Raises:
        ConfigError: see :func:`~llm_embedder_data.cli.output_files.check_output_file`.
    """
    if setting != "auto":
        check_output_file("rejected", setting)


def write_rejected_file(
    setting: Any, beside: str | Path | None, rejected: Mapping[str, RejectedRows]
) -> None:
    """Write rejected rows as JSON Lines, and print their number and the path.

    Args:
        setting: value of the setting ``rejected``: a path; None for no file; or ``auto`` for a file
            next to ``beside``. With ``auto``, nothing is written if no row was rejected and the
            file does not exist; an existing file is replaced, because its rows are outdated.
        beside: the output file of the verb; None if the verb writes none.
        rejected: the rejected rows by dataset.

    Raises:
        DataError: the file cannot be written.
    """
    n_rows = sum(rows.n_rows for rows in rejected.values())
    path = None if setting is None else with_home(setting)
    if setting == "auto":
        path = None if beside is None else path_of_rejected(beside)
        if path is None and n_rows:
            show(f"{n_rows:,} rejected rows (rejected=rejected.jsonl writes each with its reason)")
        if path is not None and not n_rows and not path.exists():
            return
    if path is None:
        return
    with in_made_folder("rejected", path):
        n_written = write_rejected_rows(path, rejected)
    few = "" if n_written == n_rows else f", of which the first {n_written:,} were written"
    show(f"{n_rows:,} rejected rows{few}: {path}")
