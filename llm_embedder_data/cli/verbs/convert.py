"""``convert``: write data of any format as canonical rows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.output_files import check_output_file, in_made_folder
from llm_embedder_data.cli.rejected_file import check_rejected_file, write_rejected_file
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.inspection.rejected_rows import rejected_of
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.records.rejected_records import gathering
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row
from llm_embedder_data.rows.settings.key_templates import unless_default
from llm_embedder_data.rows.written_rows import ENDINGS, write_rows

_KINDS: dict[str, Kind] = {"train_data": "train", "eval_data": "eval", "corpus": "corpus"}

# Shortest time between updates of the progress line.
_SECONDS_BETWEEN = 0.2


def convert(cfg: DictConfig) -> None:
    """Write the rows of ``data.train_data``, ``data.eval_data`` or ``data.corpus`` to ``out``.

    Raises:
        ConfigError: none or several of the three are named, or ``out`` cannot be written.
        DataError: the data cannot be read.
    """
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    named = [name for name in _KINDS if data.get(name) is not None]
    if len(named) != 1:
        found = " and ".join(f"data.{name}" for name in named) or "none"
        raise ConfigError(
            f"convert writes the rows of one of data.train_data, data.eval_data and data.corpus; "
            f"{found} is named (name one; run convert again for another)"
        )
    out, kind = _checked_out(cfg.out), _KINDS[named[0]]
    check_rejected_file(cfg.rejected)
    template = data["key_template"]
    reader = RowReader(
        {named[0]: data[named[0]]} if not isinstance(data[named[0]], dict) else data[named[0]],
        kind=kind,
        data_root=data["data_root"],
        cache_dir=data["cache_dir"],
        on_bad_row=data["on_bad_row"],
        key_template=unless_default(template),
    )
    progress = _progress_line()
    try:
        with in_made_folder("out", out), gathering() as rejected:
            n_rows = write_rows(_rows_of_other_files(reader, out), out, kind, progress)
    finally:
        progress(-1)
    show("\n".join(map(str, reader.report)))
    show(f"{n_rows:,} {kind} rows written to {out}")
    by_name = {named[0]: rejected_of(rejected)} if rejected.n_records else {}
    write_rejected_file(cfg.rejected, out, by_name)


def _rows_of_other_files(reader: RowReader, out: Path) -> Iterator[Row]:
    """Yield the rows of a reader.

    Raises:
        ConfigError: the rows were read from ``out``. This is known and raised after the last row,
            but still before ``out`` is replaced.
    """
    yield from reader.rows()
    read = (path for found in reader.report for path, _ in found.files)
    if out.exists() and any(os.path.exists(path) and out.samefile(path) for path in read):
        raise ConfigError(f"out={str(out)!r}: the rows are read from this file (name another)")


def _checked_out(out: Any) -> Path:
    if not isinstance(out, str) or Path(out).suffix not in ENDINGS:
        raise ConfigError(
            f"out={out!r}: expected a file for the rows, which ends in {' or '.join(ENDINGS)}"
        )
    check_output_file("out", out)
    return with_home(out)


def _progress_line() -> Callable[[int], None]:
    """Return a function that prints a number of rows on the terminal; -1 clears the line."""
    shown_at = time.monotonic()
    is_shown = sys.stderr.isatty()

    def progress(n_rows: int) -> None:
        nonlocal shown_at
        if not is_shown:
            return
        if n_rows < 0:
            sys.stderr.write("\r\x1b[K")
        elif time.monotonic() - shown_at > _SECONDS_BETWEEN:
            shown_at = time.monotonic()
            sys.stderr.write(f"\r{n_rows:,} rows")
            sys.stderr.flush()

    return progress
