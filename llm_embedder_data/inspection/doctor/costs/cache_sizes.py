"""The disk space of the caches of a dataset: its rows, the passages they name, and its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.batches.groups.gathering import files_of
from llm_embedder_data.batches.token_cache.token_table import TokenTable
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


def cache_files(
    dataset: TrainSet | EvalSet | Corpus, tables: Iterable[TokenTable]
) -> dict[str, int]:
    """Return the cache files of a dataset, with their sizes in bytes.

    Args:
        dataset: the dataset.
        tables: the token tables of its texts.
    """
    paths = [*files_of(dataset.rows), *(str(table.file) for table in tables)]
    if isinstance(dataset, Corpus) and dataset.id_rows is not None:
        paths += files_of(dataset.id_rows)
    if isinstance(dataset, TrainSet) and dataset.passages is not None:
        paths += dataset.passages.files
    return {path: n_bytes for path in dict.fromkeys(paths) if (n_bytes := _bytes_of(Path(path)))}


def add_cache_bytes(
    datasets: Mapping[str, dict[str, Any]], files: Mapping[str, Mapping[str, int]]
) -> int:
    """Add ``cache_bytes`` to the entry of each dataset in a diagnosis.

    Args:
        datasets: the entries, by dataset.
        files: results of :func:`cache_files`, by dataset.

    Returns:
        The size of all files together, in bytes; a file that several datasets share counts once.
    """
    distinct: dict[str, int] = {}
    for name, files_of_dataset in files.items():
        datasets[name]["cache_bytes"] = sum(files_of_dataset.values())
        distinct |= files_of_dataset
    return sum(distinct.values())


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0
