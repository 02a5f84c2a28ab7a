"""The settings with which all sources of a run are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm_embedder_data.config.recipes import Recipe
from llm_embedder_data.rows.settings.cache_folder import cache_folder
from llm_embedder_data.rows.settings.key_templates import DEFAULT_KEY_TEMPLATE

OnBadRow = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """How sources are read, whatever kind of rows they hold.

    Attributes:
        recipe: says which tasks are known.
        default_task: the task of rows that name none, if their source names none either.
        on_bad_row: whether a row that breaks a rule is an error, or is skipped and counted.
        cache_dir: where caches go; None for the default folder.
        add_instruction: whether instructions are put before texts, the recipe's or a row's own.
        data_root: what the prefix ``llm-embedder:`` of a path stands for.
        corpus: holds the documents of side-cars of sources that name no corpus; None for none.
        key_template: how a record of that corpus becomes a text.
        stream_cache_mib: most mebibytes of streamed files that are kept on this machine.
    """

    recipe: Recipe
    default_task: str = "qa"
    on_bad_row: OnBadRow = "raise"
    cache_dir: str | os.PathLike[str] | None = None
    add_instruction: bool = True
    data_root: str | os.PathLike[str] | None = None
    corpus: Any = None
    key_template: str = DEFAULT_KEY_TEMPLATE
    stream_cache_mib: int = 2048

    @property
    def cache_folder(self) -> Path:
        """The folder of all caches."""
        return cache_folder(self.cache_dir)
