"""Exact retrieval evaluation across ranks, for any module that embeds texts.

During an evaluation each rank keeps its own shard of encoded queries and corpus rows, and ranks
do not communicate. At the end the ranks exchange their queries, each rank searches its corpus
shard for all queries, and the results merge into the exact top k of the whole corpus. No rank ever
holds more than its corpus shard and all queries. Ranks may have different numbers of batches.

An eval set may be measured only in part, because of a trainer limit such as ``limit_val_batches``.
With fewer queries the metrics are still right, for these queries. With fewer passages they would be
wrong, because positives may be missing, so an eval set with an incomplete corpus is not measured.
A corpus that was sampled on purpose holds all positives, so it is measured, under other names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import lightning
import torch
import torch.distributed as dist
from torch import Tensor

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.answer_matching import answer_accuracy
from llm_embedder_data.mining.rankings import Ranking, Results
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
from llm_embedder_data.mining.search import (
    Precision,
    merge_top_k,
    rerank_order,
    scores_of_ranked,
    top_k,
)
from llm_embedder_data.training.eval_shard import EncodedQueries, EvalShard
from llm_embedder_data.training.eval_sources import EvalSources
from llm_embedder_data.training.trainer_limits import is_limited, limiting_setting, running_loaders

# Number of queries whose results are gathered from all ranks at a time, which bounds memory.
_QUERIES_AT_ONCE = 1024

# What the names of metrics begin with if passages were left out of the corpus on purpose.
SAMPLED = "sampled_"

EvalSetMetrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRun:
    """What an evaluation runs on.

    Attributes:
        device: where scores are computed.
        sources: the eval sets and corpora, as far as they are known.
        n_ranks: ranks that evaluate together.
        limited: eval sets and corpora of which this rank reads only a part.
        limit: the setting that limits them.
        progress: called with what is searched and its number of passages, it returns what to call
            with the number of passages that were searched.
    """

    device: torch.device
    sources: EvalSources = field(default_factory=EvalSources)
    n_ranks: int = 1
    limited: Sequence[str] = ()
    limit: str = ""
    progress: Callable[[str, int], Callable[[int], None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: by eval set: ``{"qa": {"ndcg@10": 0.5, ...}}``.
        rankings: the results of each eval set, by the ids of queries and documents; empty unless
            they were asked for.
        tasks: of the eval sets, where they are known.
        is_complete: whether every eval set was measured in full.
    """

    metrics: dict[str, dict[str, float]]
    rankings: dict[str, Ranking]
    tasks: dict[str, str]
    is_complete: bool

    def mean(self) -> dict[str, float]:
        """Return the mean of each metric over the eval sets that have it."""
        return mean_over_eval_sets(self.metrics)

    def by_task(self) -> dict[str, dict[str, float]]:
        """Return the mean of each metric over the eval sets of a task."""
        of_task: dict[str, dict[str, Mapping[str, float]]] = {}
        for name, metrics in self.metrics.items():
            if name in self.tasks:
                of_task.setdefault(self.tasks[name], {})[name] = metrics
        return {task: mean_over_eval_sets(measured) for task, measured in of_task.items()}


class RetrievalEvaluator:
    """Collects encoded batches on a rank, then searches and measures over all ranks.

    A LightningModule calls :meth:`reset` when an evaluation starts, :meth:`add_corpus` or
    :meth:`add_queries` in each step, and :meth:`finish` at the end.

    Args:
        cutoffs: the k of the metrics, each at least 1.
        drop_identical_ids: whether to leave out of a query's results the document whose id is the
            query's, as where queries are documents of the corpus.
        precision: what the products of a search are rounded to.

    Attributes:
        keeps_rankings: whether :attr:`rankings` are kept.
        rankings: of the last evaluation, by eval set.
        values: what the last evaluation measured, by the names of logs, in float64.
    """

    def __init__(
        self,
        cutoffs: Sequence[int],
        *,
        drop_identical_ids: bool = False,
        precision: Precision = "float32",
    ) -> None:
        self.cutoffs = cutoffs
        self.drop_identical_ids = drop_identical_ids
        self.precision: Precision = precision
        self.keeps_rankings = False
        self.rankings: dict[str, Ranking] = {}
        self.values: dict[str, float] = {}
        self._shard = EvalShard()

    def like(
        self,
        *,
        cutoffs: Sequence[int] | None = None,
        drop_identical_ids: bool | None = None,
        precision: Precision | None = None,
    ) -> RetrievalEvaluator:
        """Return an evaluator of the same kind; None: the same setting."""
        return RetrievalEvaluator(**self._settings(cutoffs, drop_identical_ids, precision))

    def _settings(
        self,
        cutoffs: Sequence[int] | None,
        drop_identical_ids: bool | None,
        precision: Precision | None,
    ) -> dict[str, Any]:
        drops = self.drop_identical_ids if drop_identical_ids is None else drop_identical_ids
        return {
            "cutoffs": self.cutoffs if cutoffs is None else tuple(cutoffs),
            "drop_identical_ids": drops,
            "precision": precision or self.precision,
        }

    def reset(self, sources: EvalSources | None = None) -> None:
        """Drop what an interrupted evaluation may have left.

        Args:
            sources: what will be evaluated; None if it is not known.

        Raises:
            DataError: rankings are kept, and an id cannot stand in a run file.
            ConfigError: rankings are kept, and a run would name two rows alike, or hold a sample.
        """
        self._shard = EvalShard()
        if self.keeps_rankings and sources is not None:
            sources.check_for_runs("run_file")

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
        ranked_scores: Tensor | None = None,
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
            ranked_scores: ``[n, G]`` float32, of ``ranked``, for run files.
        """
        if ranked is not None:  # keep no embedding: nothing is searched
            embedding = embedding[:, :0]
        queries = EncodedQueries(
            corpus=corpus,
            embedding=embedding.detach().cpu(),
            row=row.detach().cpu(),
            positives=positives.detach().cpu(),
            ranked=None if ranked is None else ranked.detach().cpu(),
            grades=None if grades is None else grades.detach().cpu(),
            ranked_scores=None if ranked_scores is None else ranked_scores.detach().cpu(),
        )
        self._shard.queries.setdefault(name, []).append(queries)

    def add_reranked(
        self, name: str, embedding: Tensor, keys: Tensor, key_index: Tensor, **about: Any
    ) -> None:
        """Rerank the keys of an encoded query batch, and keep the order.

        Args:
            name: name of the eval set.
            embedding: ``[n, D]`` float32.
            keys: ``[n, G, D]`` float32.
            key_index: ``[n, G]`` int64, -1 where a key is padding.
            about: the arguments ``row``, ``positives``, ``corpus`` and ``grades`` of
                :meth:`add_queries`.
        """
        # Not a matrix product, which mixed precision would round.
        self.add_scored(name, (embedding[:, None] * keys).sum(2), key_index, **about)

    def add_scored(self, name: str, scores: Tensor, key_index: Tensor, **about: Any) -> None:
        """Rank the keys of a query batch by their scores, and keep the order.

        Args:
            name: name of the eval set.
            scores: ``[n, G]`` float32.
            key_index: ``[n, G]`` int64, -1 where a key is padding.
            about: as for :meth:`add_reranked`.
        """
        ranked = rerank_order(scores, key_index)
        ranked_scores = scores_of_ranked(ranked, scores, key_index)
        nothing = scores.new_zeros(len(scores), 0)  # no embedding: nothing is searched
        self.add_queries(name, nothing, ranked=ranked, ranked_scores=ranked_scores, **about)

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
            measured. If eval sets have several tasks, ``val/task=<task>/mrr@10`` are the means over
            those of a task.
        """
        trainer = module.trainer
        limited = [
            name
            for name, loader_index in self._shard.loader_index.items()
            if is_limited(trainer, loader_index)
        ]
        run = EvalRun(
            device=module.device,
            sources=EvalSources.of_loaders(running_loaders(trainer)),
            n_ranks=trainer.world_size,
            limited=limited,
            limit=limiting_setting(trainer),
        )
        measured = self.measure(run, warn)
        if self.keeps_rankings:
            self.rankings = measured.rankings
        self.values = logged_values(measured, stage)
        return self.values

    def measure(self, run: EvalRun, warn: Callable[[str], None]) -> Evaluation:
        """Search, measure, and drop the collected batches. All ranks must call this."""
        shard, self._shard = self._shard, EvalShard()
        of_ranks = _all_gather_objects(
            (shard.joined_queries(), sorted(shard.corpora), list(run.limited)), run.n_ranks
        )
        corpora = {name for _, names, _ in of_ranks for name in names}
        limited = {name for _, _, names in of_ranks for name in names}
        metrics: dict[str, dict[str, float]] = {}
        rankings: dict[str, Ranking] = {}
        is_complete = True
        # All ranks search the same eval sets in the same order, as a search is collective.
        for name in sorted({name for queries, _, _ in of_ranks for name in queries}):
            queries = EncodedQueries.joined(
                [queries[name] for queries, _, _ in of_ranks if name in queries]
            )
            if queries.ranked is not None:
                results = _reranked(queries.ranked, queries.ranked_scores)
            elif queries.corpus in limited:
                is_complete = False
                warn(_corpus_is_cut(name, queries, run.limit))
                continue
            elif queries.corpus not in corpora:
                warn(_corpus_is_missing(name, queries))
                continue
            else:
                results = self._search(run, shard, name, queries)
            for sentence in _notes(name, queries, run.limit if name in limited else None):
                warn(sentence)
            metrics[name] = self._metrics(run.sources, name, queries, results)
            if self.keeps_rankings:
                rankings[name] = _ranking(run.sources, name, queries, results)
        return Evaluation(
            metrics=metrics,
            rankings=rankings,
            tasks={name: task for name in metrics if (task := run.sources.task(name)) is not None},
            is_complete=is_complete,
        )

    def _metrics(
        self, sources: EvalSources, name: str, queries: EncodedQueries, results: Results
    ) -> dict[str, float]:
        found = retrieval_metrics(results.index, queries.positives, self.cutoffs, queries.grades)
        corpus = sources.corpora.get(queries.corpus or "")
        answers = sources.answers(name, queries.row)
        if corpus is not None and answers is not None:
            found |= answer_accuracy(results.index, answers, corpus.texts, self.cutoffs)
        if corpus is not None and corpus.passages.is_sample:
            return {f"{SAMPLED}{metric}": value for metric, value in found.items()}
        return found

    def _search(
        self, run: EvalRun, shard: EvalShard, name: str, queries: EncodedQueries
    ) -> Results:
        """Return the best corpus rows over all ranks. All ranks must call this."""
        # An eval set with ranked keys has no corpus and does not come here.
        corpus = cast(str, queries.corpus)
        k = max(self.cutoffs) + self.drop_identical_ids
        vectors, index = shard.corpus(corpus, queries.embedding.shape[1])
        searched = run.sources.corpora.get(corpus)
        ties = None if searched is None else searched.ties
        scores, found = top_k(
            queries.embedding.to(run.device),
            vectors,
            index,
            k,
            ties=None if ties is None else ties[index],
            precision=self.precision,
            progress=None if run.progress is None else run.progress(name, len(index)),
        )
        results = _merged(Results(scores.cpu(), found.cpu()), k, ties, run.n_ranks)
        if not self.drop_identical_ids:
            return results
        same = run.sources.same_document(name, corpus, queries.row)
        return (results if same is None else results.without(same)).cut(k - 1)


def logged_values(measured: Evaluation, stage: str) -> dict[str, float]:
    """Return what was measured by the names of logs; see :meth:`RetrievalEvaluator.finish`."""
    values = {
        f"{stage}/{one_line(eval_set)}/{name}": value
        for eval_set, metrics in measured.metrics.items()
        for name, value in metrics.items()
    }
    if not measured.is_complete:
        return values
    by_task = measured.by_task()
    if 1 < len(by_task) < len(measured.metrics):  # else they are the eval sets', or the mean
        values |= {
            f"{stage}/task={one_line(task)}/{name}": value
            for task, metrics in by_task.items()
            for name, value in metrics.items()
        }
    return values | {f"{stage}/{name}": value for name, value in measured.mean().items()}


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


# --------------------------------------------------------------------------------------------------


def _merged(results: Results, k: int, ties: Tensor | None, n_ranks: int) -> Results:
    """Return the best k results over all ranks."""
    if n_ranks == 1:
        return results
    merged = []
    for start in range(0, len(results.index), _QUERIES_AT_ONCE):
        here = slice(start, start + _QUERIES_AT_ONCE)
        of_ranks = _all_gather_objects((results.scores[here], results.index[here]), n_ranks)
        scores, found = (torch.cat(side, dim=1) for side in zip(*of_ranks, strict=True))
        merged.append(merge_top_k(scores, found, k, ties))
    scores, found = (torch.cat(side) for side in zip(*merged, strict=True))
    return Results(scores, found)


def _reranked(index: Tensor, scores: Tensor | None) -> Results:
    return Results.of_order(index) if scores is None else Results(scores, index)


def _ranking(sources: EvalSources, name: str, queries: EncodedQueries, results: Results) -> Ranking:
    searched = sources.corpora.get(queries.corpus or "")
    return Ranking(
        query_ids=sources.query_ids(name, queries.row),
        results=results,
        document_ids=None if searched is None else searched.ids,
    )


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


def _all_gather_objects(value: Any, n_ranks: int) -> list[Any]:
    """Return ``value`` of every rank, in rank order.

    Lightning's ``all_gather`` takes only tensors of one shape on all ranks.
    """
    if n_ranks == 1:
        return [value]
    values = [None] * n_ranks
    dist.all_gather_object(values, value)
    return values
