"""The folder of all caches: Arrow files, token tables, row numbers and digests."""

from __future__ import annotations

import os
from pathlib import Path

import datasets

from llm_embedder_data.core.addresses import check_on_this_machine
from llm_embedder_data.core.home_paths import with_home


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that the setting ``cache_dir`` stands for.

    None stands for a folder inside the cache of Hugging Face datasets, so that HF_HOME and
    HF_DATASETS_CACHE move it.

    Raises:
        ConfigError: the setting is an address.
    """
    if cache_dir is None:
        return Path(datasets.config.HF_DATASETS_CACHE) / "llm_embedder_data"
    check_on_this_machine("cache_dir", cache_dir)
    return with_home(cache_dir)
