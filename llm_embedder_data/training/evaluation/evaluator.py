"""Exact retrieval evaluation across ranks, for any module that embeds texts or scores pairs.

During an evaluation each rank keeps a shard of encoded queries and corpus rows, and ranks do not
communicate. At the end the ranks exchange their queries, each rank searches its corpus shard for
all queries, and the results are merged into the exact top k of the whole corpus. A rank never holds
more than its corpus shard and all queries. Ranks may have different numbers of batches.

A trainer limit such as ``limit_val_batches`` may leave out part of an eval set. If it leaves out
queries, the metrics are correct for the other queries. If it leaves out passages, positives may be
missing, so the eval set is not measured. A corpus that was sampled on purpose contains all
positives, so it is measured, under names that begin with ``sampled_``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import lightning
import torch
from torch import Tensor

from llm_embedder_data.mining.answer_matching import answer_accuracy
from llm_embedder_data.mining.rank_group import gather_objects
from llm_embedder_data.mining.rankings import Ranking, Results
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
from llm_embedder_data.mining.search import Precision, rerank_order, scores_of_ranked
from llm_embedder_data.training.evaluation.eval_notes import (
    corpus_is_cut,
    corpus_is_missing,
    notes_on_queries,
)
from llm_embedder_data.training.evaluation.eval_results import (
    EvalSetMetrics,
    Evaluation,
    logged_values,
    mean_over_eval_sets,
)
from llm_embedder_data.training.evaluation.eval_shard import EncodedQueries, EvalShard
from llm_embedder_data.training.evaluation.eval_sources import EvalSources
from llm_embedder_data.training.evaluation.rank_search import search_over_ranks
from llm_embedder_data.training.evaluation.trainer_limits import (
    is_limited,
    limiting_setting,
    running_loaders,
)

__all__ = [
    "SAMPLED",
    "EvalRun",
    "EvalSetMetrics",
    "Evaluation",
    "RetrievalEvaluator",
    "logged_values",
    "mean_over_eval_sets",
]

# Prefix for the names of metrics that are measured on a sample of the corpus.
SAMPLED = "sampled_"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRun:
    """The circumstances of an evaluation.

    Attributes:
        device: the device to compute scores on.
        sources: the eval sets and corpora, as far as they are known.
        n_ranks: number of ranks that evaluate together.
        limited: names of the eval sets and corpora that a limit truncates on this rank.
        limit: the setting that truncates them, such as ``limit_val_batches=2``.
        progress: starts a progress bar. Called with the name of an eval set and the number of
            passages to search, it returns a function that is called with the number of passages
            searched since its last call.
    """

    device: torch.device
    sources: EvalSources = field(default_factory=EvalSources)
    n_ranks: int = 1
    limited: Sequence[str] = ()
    limit: str = ""
    progress: Callable[[str, int], Callable[[int], None]] | None = None


class RetrievalEvaluator:
    """Collects encoded batches on each rank, then searches and measures over all ranks.

    A LightningModule calls :meth:`reset` when an evaluation starts, :meth:`add_corpus` or
    :meth:`add_queries` (or :meth:`add_reranked`, or :meth:`add_scored`) in each step, and
    :meth:`finish` at the end.

    Args:
        cutoffs: the k of metrics such as nDCG@k, each at least 1.
        drop_identical_ids: remove the document with the query's id from the query's results, for
            data whose queries are documents of the corpus.
        precision: precision of the search: see :func:`~llm_embedder_data.mining.search.top_k`.

    Attributes:
        keeps_rankings: whether an evaluation keeps its :attr:`rankings`.
        run_file: file that the caller will write the rankings to, or None. It is only used to
            check, before anything is encoded, that the file can hold all ids.
        rankings: the results of the last evaluation, by eval set.
        values: the metrics of the last evaluation, unrounded, by the names under which they are
            logged.
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
        self.run_file: str | os.PathLike[str] | None = None
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
        """Return a new evaluator of the same class with the same settings, except those given."""
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
        """Start anew: drop batches that an interrupted evaluation may have left behind.

        Args:
            sources: the eval sets and corpora that will be evaluated; None if they are not known.

        Raises:
            DataError: an id cannot be written to the run file.
            ConfigError: there is a run file, but two rows have the same id, or a corpus is a
                sample.
        """
        self._shard = EvalShard()
        if self.run_file is not None and sources is not None:
            sources.check_for_runs(self.run_file)

    def note_loader(self, name: str, loader_index: int) -> None:
        """Record the loader of an eval set or corpus. Call this for empty batches too."""
        self._shard.loader_index[name] = loader_index

    def add_corpus(self, name: str, embedding: Tensor, index: Tensor) -> None:
        """Keep an encoded batch of a corpus, on the CPU.

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
        """Keep an encoded batch of queries, on the CPU.

        Args:
            name: name of the eval set.
            embedding: ``[n, D]`` float32.
            row: ``[n]`` int64, row numbers in the eval set.
            positives: ``[n, P]`` int64, indices of corpus rows, padded with -1.
            corpus: name of the corpus to search, or None.
            ranked: ``[n, G]`` int64, corpus rows of reranked keys, best first, padded with -1. If
                given, these rows are the results, and no corpus is searched.
            grades: ``[n, P]`` float64, grades of the positives, which nDCG uses as gains; None: 1
                each.
            ranked_scores: ``[n, G]`` float32, the scores of ``ranked``, for run files.
        """
        if ranked is not None:  # the embeddings are not needed, so they are not kept
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
        """Rank the keys of an encoded batch of queries by inner product, and keep the ranking.

        Args:
            name: name of the eval set.
            embedding: ``[n, D]`` float32.
            keys: ``[n, G, D]`` float32.
            key_index: ``[n, G]`` int64, -1 where a key is padding.
            about: the arguments ``row``, ``positives``, ``corpus`` and ``grades`` of
                :meth:`add_queries`.
        """
        # Use an elementwise product, because autocast would round a matrix product.
        self.add_scored(name, (embedding[:, None] * keys).sum(2), key_index, **about)

    def add_scored(self, name: str, scores: Tensor, key_index: Tensor, **about: Any) -> None:
        """Rank the keys of a batch of queries by the given scores, and keep the ranking.

        Args:
            name: name of the eval set.
            scores: ``[n, G]`` float32.
            key_index: ``[n, G]`` int64, -1 where a key is padding.
            about: as for :meth:`add_reranked`.
        """
        ranked = rerank_order(scores, key_index)
        ranked_scores = scores_of_ranked(ranked, scores, key_index)
        no_embedding = scores.new_zeros(len(scores), 0)
        self.add_queries(name, no_embedding, ranked=ranked, ranked_scores=ranked_scores, **about)

    def finish(
        self, module: lightning.LightningModule, stage: str, warn: Callable[[str], None]
    ) -> dict[str, float]:
        """Search, compute the metrics, and drop the collected batches. All ranks must call this.

        Args:
            module: the module that is evaluated, attached to a trainer.
            stage: prefix for the names of the metrics, such as ``val``.
            warn: called on every rank with warnings about eval sets that are not fully measured.

        Returns:
            ``{"val/<eval set>/mrr@10": ..., "val/mrr@10": ...}``, the same on every rank.
            ``val/mrr@10`` is the mean over the eval sets; it is left out if a trainer limit keeps
            an eval set from being measured. If the eval sets belong to several tasks,
            ``val/task=<task>/mrr@10`` is the mean over the eval sets of a task.
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
        """Search, compute the metrics, and drop the collected batches. All ranks must call this.

        Args:
            run: the device, the ranks, and what is known about the eval sets.
            warn: as for :meth:`finish`.
        """
        shard, self._shard = self._shard, EvalShard()
        gathered = gather_objects(
            (shard.joined_queries(), sorted(shard.corpora), list(run.limited)), run.n_ranks
        )
        corpora = {name for _, names, _ in gathered for name in names}
        limited = {name for _, _, names in gathered for name in names}
        metrics: dict[str, dict[str, float]] = {}
        rankings: dict[str, Ranking] = {}
        is_complete = True
        # A search is a collective operation, so all ranks search the eval sets in the same order.
        for name in sorted({name for queries, _, _ in gathered for name in queries}):
            queries = EncodedQueries.joined(
                [queries[name] for queries, _, _ in gathered if name in queries]
            )
            if queries.ranked is not None:
                results = _reranked(queries.ranked, queries.ranked_scores)
            elif queries.corpus in limited:
                is_complete = False
                warn(corpus_is_cut(name, queries, run.limit))
                continue
            elif queries.corpus not in corpora:
                warn(corpus_is_missing(name, queries))
                continue
            else:
                results = self._search(run, shard, name, queries)
            for note in notes_on_queries(name, queries, run.limit if name in limited else None):
                warn(note)
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
        corpus = cast(str, queries.corpus)  # only an eval set with ranked keys has none
        k = max(self.cutoffs) + self.drop_identical_ids
        vectors, index = shard.corpus(corpus, queries.embedding.shape[1])
        searched = run.sources.corpora.get(corpus)
        ties = None if searched is None else searched.ties
        results = search_over_ranks(
            queries.embedding.to(run.device),
            vectors,
            index,
            k,
            ties=ties,
            precision=self.precision,
            n_ranks=run.n_ranks,
            progress=None if run.progress is None else run.progress(name, len(index)),
        )
        if not self.drop_identical_ids:
            return results
        same = run.sources.same_document(name, corpus, queries.row)
        return (results if same is None else results.without(same)).cut(k - 1)


# --------------------------------------------------------------------------------------------------


def _reranked(index: Tensor, scores: Tensor | None) -> Results:
    return Results.of_order(index) if scores is None else Results(scores, index)


def _ranking(sources: EvalSources, name: str, queries: EncodedQueries, results: Results) -> Ranking:
    searched = sources.corpora.get(queries.corpus or "")
    return Ranking(
        query_ids=sources.query_ids(name, queries.row),
        results=results,
        document_ids=None if searched is None else searched.ids,
    )
