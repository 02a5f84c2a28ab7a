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
        recipe: the recipe, which defines the known tasks.
        default_task: the task of rows that name none, if their source names none either.
        on_bad_row: whether a row that breaks a rule is an error, or is skipped and counted.
        cache_dir: the folder of caches; None for the default folder.
        add_instruction: whether instructions, of the recipe or of a row, are put before texts.
        data_root: the folder that the prefix ``llm-embedder:`` of a path stands for.
        corpus: the corpus whose document ids ``negatives`` and ``scores`` use, for sources that
            name no corpus; or None.
        key_template: how a record of a corpus becomes a text, unless the corpus has a template.
        stream_cache_mib: maximum size, in MiB, of the parts of streamed files that are kept on this
            machine.
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
