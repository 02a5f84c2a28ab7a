"""Merging several runs into a single run by reciprocal rank fusion.

Cormack, Clarke and Büttcher (SIGIR 2009): a document's score is sum(1 / (60 + rank)) over the runs
that contain it, with ranks from 1. Unlike the scores of different retrievers, ranks are comparable.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.mining.run_files import read_run, write_run
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.side_cars.scores_beside import head_beside, path_beside, scores_beside

_K = 60  # the constant of the formula

Scores = dict[str, dict[str, float]]


def merge_runs(
    runs: Sequence[Path], out: Path, depth: int, cache: Path | None = None
) -> tuple[int, list[str]]:
    """Merge runs of mined negatives, and the scores of positives in the files beside them.

    A positive has no rank in a run, so it gets the rank that its score would have among the run's
    negatives. It is written with its fused score only if every run has a score for it. A passage
    that any run marks as a false negative is left out of the merged run.

    Args:
        runs: the run files to merge.
        out: the merged run file.
        depth: number of negatives per query.
        cache: the folder that caches the digests of files; None for the default folder.

    Returns:
        The number of negatives written, and warnings about files beside runs that were not used.

    Raises:
        DataError: a file cannot be read.
    """
    fused: Scores = {}
    beside: list[Scores] = []
    false_negatives: dict[str, set[str]] = {}
    notes: list[str] = []
    for run in runs:
        read = read_run(run)
        found, run_notes = scores_beside({str(run): content_digest(str(run), cache)})
        notes += run_notes
        of_positives: Scores = {}
        for query, documents in found.read().items():
            negated = _negated_scores(read.get(query, {}))
            for document, score in documents.items():
                if score == math.inf:
                    false_negatives.setdefault(query, set()).add(document)
                elif score is not None and negated is not None:
                    # The positive ranks below all negatives with a higher score.
                    rank = 1 + bisect_left(negated, -score)
                    of_positives.setdefault(query, {})[document] = 1 / (_K + rank)
        beside.append(of_positives)
        for query, documents in read.items():
            of_query = fused.setdefault(query, {})
            for rank, document in enumerate(documents, 1):
                of_query[document] = of_query.get(document, 0.0) + 1 / (_K + rank)
    merged = {
        query: sorted(
            ((d, s) for d, s in documents.items() if d not in false_negatives.get(query, ())),
            key=lambda pair: (-pair[1], pair[0]),
        )[:depth]
        for query, documents in fused.items()
    }
    write_run(out, merged.items())
    with atomic_file(path_beside(out)) as file:
        lines = [head_beside(content_digest(str(out), cache))]
        for query in dict.fromkeys([*fused, *false_negatives]):
            of_runs = [of_positives.get(query, {}) for of_positives in beside]
            for document in of_runs[0]:
                if all(document in scores for scores in of_runs):
                    lines.append(f"{query}\t{document}\t{sum(s[document] for s in of_runs)!r}")
            lines += [
                f"{query}\t{document}\tinf" for document in sorted(false_negatives.get(query, ()))
            ]
        file.write("".join(f"{line}\n" for line in lines).encode())
    return sum(map(len, merged.values())), notes


def _negated_scores(documents: Mapping[str, float | None]) -> list[float] | None:
    """Return a query's negated scores, ascending; None if a document has no score."""
    scores = list(documents.values())
    if any(score is None for score in scores):
        return None
    return sorted(-score for score in scores if score is not None)
