"""Warnings about eval sets that are not measured, or measured only in part."""

from __future__ import annotations

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
    """Return warnings about queries that the metrics leave out.

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
    if limit is not None:
        notes.append(
            f"eval set {name!r}: the metrics are over {len(queries.row)} of its queries, because "
            f"{limit} leaves out the others"
        )
    return notes
