"""Warnings about eval sets that are not measured, or measured only in part."""

from __future__ import annotations

import torch

from llm_embedder_data.training.evaluation.eval_shard import EncodedQueries


def corpus_is_cut(name: str, queries: EncodedQueries, limit: str) -> str:
    """Return the warning for an eval set if the setting ``limit`` leaves out part of its corpus."""
    return (
        f"eval set {name!r}: no metrics, because {limit} leaves out a part of its corpus "
        f"{queries.corpus!r}, which may hold positives (evaluate on all batches; a smaller eval "
        "set takes less time)"
    )


def corpus_is_missing(name: str, queries: EncodedQueries) -> str:
    """Return the warning for an eval set if no batch of its corpus was encoded."""
    return (
        f"eval set {name!r}: no metrics, because no batch of its corpus {queries.corpus!r} was "
        "encoded (give data.corpus, or set data.eval_method=rerank)"
    )


def notes_on_queries(name: str, queries: EncodedQueries, limit: str | None) -> list[str]:
    """Return warnings about queries that the metrics leave out, or that nothing can be found for.

    Args:
        name: name of the eval set.
        queries: its encoded queries.
        limit: the setting that leaves out queries; None if there is no limit.
    """
    notes = []
    n_without = int((queries.positives < 0).all(1).sum())
    if n_without:
        notes.append(
            f"eval set {name!r}: {n_without} of {len(queries.row)} queries have no positive and "
            "are left out of the metrics"
        )
    scores = queries.embedding if queries.ranked_scores is None else queries.ranked_scores
    is_real = torch.ones_like(scores, dtype=torch.bool)
    if queries.ranked is not None and queries.ranked_scores is not None:
        is_real = queries.ranked >= 0
    n_not_finite = int((~scores.isfinite() & is_real).any(1).sum())
    if n_not_finite:
        notes.append(
            f"eval set {name!r}: the model gives {n_not_finite} of {len(queries.row)} queries "
            "numbers that are not finite, so the metrics say nothing (it has diverged if a "
            "train/loss is NaN: lower model.learning_rate; else compute in another "
            "trainer.precision, such as 32-true)"
        )
    if limit is not None:
        notes.append(
            f"eval set {name!r}: the metrics are over {len(queries.row)} of its queries, because "
            f"{limit} leaves out the others"
        )
    return notes
