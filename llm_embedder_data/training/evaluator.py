"""Exact retrieval evaluation across ranks, for any LightningModule that embeds texts.

During an evaluation each rank keeps its own shard of encoded queries and corpus rows, and ranks
do not communicate. At the end the ranks exchange their queries, each rank searches its corpus
shard for all queries, and the results merge into the exact top k of the whole corpus. No rank ever
holds more than its corpus shard and all queries. Ranks may have different numbers of batches.

An eval set may be measured only in part, because of a trainer limit such as ``limit_val_batches``.
With fewer queries the metrics are still right, for these queries. With fewer passages they would be
wrong, because positives may be missing, so an eval set with an incomplete corpus is not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning
import torch
import torch.distributed as dist
from torch import Tensor

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
from llm_embedder_data.mining.search import merge_top_k, top_k
from llm_embedder_data.training.eval_shard import EncodedQueries, EvalShard
from llm_embedder_data.training.trainer_limits import is_limited, limiting_setting

# Number of queries whose results are gathered from all ranks at a time, which bounds memory.
_QUERIES_AT_ONCE = 4096

EvalSetMetrics = Mapping[str, Mapping[str, float]]


class RetrievalEvaluator:
    """Collects encoded batches on a rank, then searches and measures over all ranks.

    A LightningModule calls :meth:`reset` when an evaluation starts, :meth:`add_corpus` or
    :meth:`add_queries` in each step, and :meth:`finish` at the end.

    Args:
        cutoffs: the k of MRR@k, Recall@k and nDCG@k, each at least 1.
    """

    def __init__(self, cutoffs: Sequence[int]) -> None:
        self.cutoffs = cutoffs
        self._shard = EvalShard()

    def reset(self) -> None:
        """Drop what an interrupted evaluation may have left."""
        self._shard = EvalShard()

    def note_loader(self, name: str, loader_index: int) -> None:
        """Record which loader an eval set or corpus comes from; call it for empty batches too."""
        self._shard.loader_index[name] = loader_index

    def add_corpus(self, name: str, embedding: Tensor, index: Tensor) -> None:
        """Keep an encoded corpus batch on the CPU.

        Args:
            name: name of the corpus.
            embedding: ``[n, D]`` float32.
            index: ``[n]`` int64, indices of the corpus rows.
        """
        part = embedding.detach().cpu(), index.detach().cpu()
        self._shard.corpora.setdefault(name, []).append(part)

    def add_queries(
        self,
        name: str,
        embedding: Tensor,
        *,
        row: Tensor,
        positives: Tensor,
        corpus: str | None,
        ranked: Tensor | None = None,
        grades: Tensor | None = None,
    ) -> None:
        """Keep an encoded query batch on the CPU.

        Args:
            name: name of the eval set.
            embedding: ``[n, D]`` float32.
            row: ``[n]`` int64, row numbers in the eval set.
            positives: ``[n, P]`` int64, indices of corpus rows, padded with -1.
            corpus: name of the corpus to search, or None.
            ranked: ``[n, G]`` int64, reranked keys, best first; given these, nothing is searched.
            grades: ``[n, P]`` float64, of the positives: gains of nDCG; None: 1 each.
        """
        if ranked is not None:  # keep no embedding: nothing is searched
            embedding, ranked = embedding[:, :0], ranked.detach().cpu()
        queries = EncodedQueries(
            corpus=corpus,
            embedding=embedding.detach().cpu(),
            row=row.detach().cpu(),
            positives=positives.detach().cpu(),
            ranked=ranked,
            grades=None if grades is None else grades.detach().cpu(),
        )
        self._shard.queries.setdefault(name, []).append(queries)

    def finish(
        self, module: lightning.LightningModule, stage: str, warn: Callable[[str], None]
    ) -> dict[str, float]:
        """Search, measure, and drop the collected batches. All ranks must call this.

        Args:
            module: the module that is evaluated, attached to a trainer.
            stage: prefix of the names, such as ``val``.
            warn: called on every rank with sentences about eval sets that are not measured in full.

        Returns:
            ``{"val/<eval set>/mrr@10": ..., "val/mrr@10": ...}``, the same on every rank. The means
            over the eval sets are left out if a trainer limit keeps an eval set from being
            measured.
        """
        shard, self._shard = self._shard, EvalShard()
        measured, is_complete = self._measure(module, shard, warn)
        values = {
            f"{stage}/{one_line(eval_set)}/{name}": value
            for eval_set, metrics in measured.items()
            for name, value in metrics.items()
        }
        if is_complete:
            means = mean_over_eval_sets(measured)
            values |= {f"{stage}/{name}": value for name, value in means.items()}
        return values

    def _measure(
        self, module: lightning.LightningModule, shard: EvalShard, warn: Callable[[str], None]
    ) -> tuple[dict[str, dict[str, float]], bool]:
        """Return each eval set's metrics, and whether no trainer limit left an eval set out."""
        # Which loaders this rank reads only in part, known by the eval set or corpus they give.
        limited_here = [
            name
            for name, loader_index in shard.loader_index.items()
            if is_limited(module.trainer, loader_index)
        ]
        of_ranks = _all_gather_objects(
            (shard.joined_queries(), sorted(shard.corpora), limited_here), module
        )
        corpora = {name for _, names, _ in of_ranks for name in names}
        limited = {name for _, _, names in of_ranks for name in names}
        limit = limiting_setting(module.trainer)
        measured, is_complete = {}, True
        # All ranks search the same eval sets in the same order, as a search is collective.
        for name in sorted({name for queries, _, _ in of_ranks for name in queries}):
            queries = EncodedQueries.joined(
                [queries[name] for queries, _, _ in of_ranks if name in queries]
            )
            if queries.ranked is not None:
                retrieved = queries.ranked
            elif queries.corpus in limited:
                is_complete = False
                warn(_corpus_is_cut(name, queries, limit))
                continue
            elif queries.corpus not in corpora:
                warn(_corpus_is_missing(name, queries))
                continue
            else:
                retrieved = self._search(module, shard, queries)
            for sentence in _notes(name, queries, limit if name in limited else None):
                warn(sentence)
            measured[name] = retrieval_metrics(
                retrieved, queries.positives, self.cutoffs, queries.grades
            )
        return measured, is_complete

    def _search(
        self, module: lightning.LightningModule, shard: EvalShard, queries: EncodedQueries
    ) -> Tensor:
        """Return the best corpus rows over all ranks, ``[Q, k]``. All ranks must call this."""
        k = max(self.cutoffs)
        # An eval set with ranked keys has no corpus and does not come here.
        embedding, index = shard.corpus(cast(str, queries.corpus), queries.embedding.shape[1])
        scores, found = top_k(queries.embedding.to(module.device), embedding, index, k)
        if module.trainer.world_size == 1:
            return found.cpu()
        merged = []
        for start in range(0, len(found), _QUERIES_AT_ONCE):
            here = slice(start, start + _QUERIES_AT_ONCE)
            # [W, q, k] to [q, W*k]
            all_scores, all_found = (
                cast(Tensor, module.all_gather(part[here])).transpose(0, 1).flatten(1).cpu()
                for part in (scores, found)
            )
            merged.append(merge_top_k(all_scores, all_found, k)[1])
        return torch.cat(merged)


def mean_over_eval_sets(measured: EvalSetMetrics) -> dict[str, float]:
    """Return the mean of each metric over the eval sets that have it.

    >>> mean_over_eval_sets({"a": {"mrr@10": 0.5}, "b": {"mrr@10": 1.0}, "c": {}})
    {'mrr@10': 0.75}
    """
    names = dict.fromkeys(name for metrics in measured.values() for name in metrics)
    means = {}
    for name in names:
        values = [metrics[name] for metrics in measured.values() if name in metrics]
        means[name] = math.fsum(values) / len(values)
    return means


def _corpus_is_cut(name: str, queries: EncodedQueries, limit: str) -> str:
    return (
        f"eval set {name!r}: no metrics, because {limit} leaves out a part of its corpus "
        f"{queries.corpus!r}, which may hold positives (evaluate on all batches; a smaller eval "
        "set takes less time)"
    )


def _corpus_is_missing(name: str, queries: EncodedQueries) -> str:
    return (
        f"eval set {name!r}: no metrics, because no batch of its corpus {queries.corpus!r} came "
        "(give data.corpus, or set data.eval_method=rerank)"
    )


def _notes(name: str, queries: EncodedQueries, limit: str | None) -> list[str]:
    """Return sentences about the queries that the metrics leave out."""
    notes = []
    n_without = int((queries.positives < 0).all(1).sum())
    if n_without:
        notes.append(
            f"eval set {name!r}: {n_without} of {len(queries.row)} queries have no positive and "
            "are left out of the metrics"
        )
    if limit is not None:
        notes.append(
            f"eval set {name!r}: the metrics are over {len(queries.row)} of its queries, because "
            f"{limit} leaves out the others"
        )
    return notes


def _all_gather_objects(value: Any, module: lightning.LightningModule) -> list[Any]:
    """Return ``value`` of every rank, in rank order.

    Lightning's ``all_gather`` takes only tensors of one shape on all ranks.
    """
    n_ranks = module.trainer.world_size
    if n_ranks == 1:
        return [value]
    values = [None] * n_ranks
    dist.all_gather_object(values, value)
    return values
