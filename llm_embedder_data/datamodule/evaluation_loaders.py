"""The loaders of an evaluation, for eval queries and for corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.model_helpers import is_overridden
from numpy.typing import NDArray

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.token_cache.cached_rows import CachedEvalTexts, CachedPassages
from llm_embedder_data.core.hashing import hash_rows, stream_seed
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.loading.loaders import BatchLoader
from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.open_data.corpus_matching import CorpusView, loader_names
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet


class NoLoaders(CombinedLoader):
    """Returned if there is nothing to validate; Lightning 2.6 would take {} for an empty loader."""

    flattened: Any = ()

    def __init__(self) -> None:
        super().__init__({}, "sequential")


Loaders = BatchLoader | dict[str, BatchLoader] | NoLoaders
MakeLoader = Callable[[EvalQueries | CorpusPassages], BatchLoader]


def eval_loaders(
    data: OpenData,
    builder: DatasetBuilder,
    make_loader: MakeLoader,
    sample: int | None = None,
    seed: int = 0,
) -> dict[str, BatchLoader]:
    """Return the loaders of the eval sets, and of the corpora that they are matched against.

    Args:
        data: the open datasets.
        builder: the builder of these datasets.
        make_loader: makes a loader that reads eval queries or corpus passages.
        sample: how many passages of each corpus to read besides the right passages of the queries;
            None reads all.
        seed: seed of the sample.
    """
    matching = data.matching(builder)
    loaders: dict[str, BatchLoader] = {}
    for name, eval_set in data.eval_sets().items():
        view, table = matching.of_eval.get(name), data.tables["eval"].get(name)
        queries = EvalQueries(
            eval_set,
            builder.instruction_of(eval_set),
            view.name if view else None,
            None if table is None else CachedEvalTexts(table),
        )
        loaders[name] = make_loader(queries)
    orders = {}
    if sample is not None:
        for name, view in matching.used().items():
            of_view = [
                data.eval_sets()[eval_name]
                for eval_name, found in matching.of_eval.items()
                if found.name == name
            ]
            orders[name] = sampled_passages(view.corpus, of_view, sample, seed)
    for name, order in orders.items():
        n_passages = len(matching.views[name].corpus.kept)
        if len(order) < n_passages:
            rank_zero_warn(
                f"data.eval_corpus_sample={sample}: only a part of corpus {one_line(name)!r} is "
                f"searched ({len(order):,} of {n_passages:,} passages, among them all right ones), "
                "so the metrics are too high; they are called sampled_ndcg@10 and so on "
                "(data.eval_corpus_sample=null searches the whole corpus, as validate does)"
            )
    return loaders | corpus_loaders(data, matching.used(), make_loader, orders)


def corpus_loaders(
    data: OpenData,
    views: Mapping[str, CorpusView],
    make_loader: MakeLoader,
    orders: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
) -> dict[str, BatchLoader]:
    """Return the loaders of corpora.

    Args:
        data: the open datasets.
        views: the corpora by name.
        make_loader: makes a loader that reads corpus passages.
        orders: for a corpus that is not read as a whole, the positions to read among its kept rows,
            by name.
    """
    names, tables = loader_names(views), data.tables["corpus"]
    loaders = {}
    for name, view in views.items():
        texts = CachedPassages(tables[name]) if name in tables else None
        order = orders.get(name)
        passages = CorpusPassages(
            view.corpus,
            view.key_instruction,
            name,
            texts,
            order=order,
            is_sample=order is not None and len(order) < len(view.corpus.kept),
        )
        loaders[names[name]] = make_loader(passages)
    return loaders


def must_hide_validation(trainer: Trainer | None, eval_data: Any) -> bool:
    """Return whether a data module must look as if it did not override ``val_dataloader``.

    Lightning warns if only one of data module and model validates, and decides that by whether they
    override their hooks. So a data module without eval data hides its hook from a model that does
    not validate.

    Args:
        trainer: the trainer that fits, if there is one.
        eval_data: the setting of that name.
    """
    if trainer is None:
        return False
    # A data frame has no truth value.
    is_empty = eval_data is None or (isinstance(eval_data, list | dict) and not eval_data)
    return is_empty and not is_overridden("validation_step", trainer.lightning_module)


def sampled_passages(
    corpus: Corpus, eval_sets: Iterable[EvalSet], n_others: int, seed: int
) -> NDArray[np.int64]:
    """Return all right passages and a random sample of the other passages.

    Args:
        corpus: the passages.
        eval_sets: the eval sets whose right passages are included.
        n_others: number of other passages.
        seed: seed of the sample.

    Returns:
        Positions among the corpus's kept rows, ascending, ``[n]`` int64.
    """
    is_right = np.zeros(len(corpus.rows), bool)
    for eval_set in eval_sets:
        lists = eval_set.rows.data.column("pos_index").take(pa.array(eval_set.kept))
        indices = pc.list_flatten(lists).to_numpy()
        is_right[indices[indices < len(is_right)]] = True  # higher: documents without a passage
    right = is_right[corpus.kept]
    others = np.flatnonzero(~right)
    words = hash_rows(stream_seed(seed, "eval corpus sample"), corpus.kept[others])
    return np.union1d(np.flatnonzero(right), others[words.argsort()[:n_others]])


def single_or_all(loaders: dict[str, BatchLoader]) -> Loaders:
    """Return the loader itself if there is only one, otherwise all loaders by name."""
    return next(iter(loaders.values())) if len(loaders) == 1 else loaders
