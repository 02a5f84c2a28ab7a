"""The loaders of an evaluation: eval queries, and corpora beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.utilities.combined_loader import CombinedLoader

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.token_cache.cached_rows import CachedEvalTexts, CachedPassages
from llm_embedder_data.datamodule.building import DatasetBuilder
from llm_embedder_data.datamodule.corpus_matching import CorpusView, loader_names
from llm_embedder_data.datamodule.loaders import BatchLoader
from llm_embedder_data.datamodule.open_data import OpenData


class NoLoaders(CombinedLoader):
    """Returned when there is nothing to validate: Lightning 2.6 mistakes {} for an empty loader."""

    flattened: Any = ()

    def __init__(self) -> None:
        super().__init__({}, "sequential")


Loaders = BatchLoader | dict[str, BatchLoader] | NoLoaders
MakeLoader = Callable[[EvalQueries | CorpusPassages], BatchLoader]


def eval_loaders(
    data: OpenData, builder: DatasetBuilder, make_loader: MakeLoader
) -> dict[str, BatchLoader]:
    """Return the loaders of the eval sets, and of the corpora that they are matched against."""
    matching = data.matching(builder)
    loaders: dict[str, BatchLoader] = {}
    for name, eval_set in data.eval_sets().items():
        view, table = matching.of_eval.get(name), data.tables["eval"].get(name)
        queries = EvalQueries(
            eval_set,
            builder.instruction(eval_set.task),
            view.name if view else None,
            None if table is None else CachedEvalTexts(table),
        )
        loaders[name] = make_loader(queries)
    return loaders | corpus_loaders(data, matching.used(), make_loader)


def corpus_loaders(
    data: OpenData, views: Mapping[str, CorpusView], make_loader: MakeLoader
) -> dict[str, BatchLoader]:
    """Return the loaders of corpora."""
    names, tables = loader_names(views), data.tables["corpus"]
    loaders = {}
    for name, view in views.items():
        texts = CachedPassages(tables[name]) if name in tables else None
        passages = CorpusPassages(view.corpus, view.key_instruction, name, texts)
        loaders[names[name]] = make_loader(passages)
    return loaders


def single_or_all(loaders: dict[str, BatchLoader]) -> Loaders:
    """Return the loader itself if there is only one, else all by name."""
    return next(iter(loaders.values())) if len(loaders) == 1 else loaders
