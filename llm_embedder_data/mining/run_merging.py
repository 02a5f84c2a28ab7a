"""Several runs merged into one by reciprocal rank fusion.

It is that of Cormack, Clarke and Büttcher (SIGIR 2009). A document has the score
sum(1 / (60 + rank)) over the runs, rank from 1; a run without it adds nothing. Scores of different
miners have no common scale, ranks have.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm_embedder_data.core.files import atomic_file
from llm_embedder_data.mining.run_files import read_run, write_run
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.scores_beside import head_beside, path_beside, scores_beside

_K = 60

Scores = dict[str, dict[str, float]]


def merge_runs(
    runs: Sequence[Path], out: Path, depth: int, cache: Path | None = None
) -> tuple[int, list[str]]:
    """Write the best documents of each query over several runs, and the scores of positives beside.

    A positive that lies beside a run has there the rank that its score would have among the run's
    negatives; below all of them, the rank after the last. It keeps a score only if it lies beside
    every run. What one miner took for a positive is none of the merged negatives.

    Args:
        runs: files of negatives.
        out: the merged file.
        depth: negatives for each query.
        cache: where digests of files are remembered; None for the default folder.

    Returns:
        the number of negatives, and notes on what was not read.

    Raises:
        DataError: a file cannot be read.
    """
    fused: Scores = {}
    beside: list[Scores] = []
    false: dict[str, set[str]] = {}
    notes: list[str] = []
    for run in runs:
        read = read_run(run)
        found, said = scores_beside({str(run): content_digest(str(run), cache)})
        notes += said
        own: Scores = {}
        for query, documents in found.read().items():
            falling = _falling(read.get(query, {}))
            for document, score in documents.items():
                if score == math.inf:
                    false.setdefault(query, set()).add(document)
                elif score is not None and falling is not None:
                    # Behind all negatives with a higher or equal score.
                    rank = 1 + bisect_left(falling, -score)
                    own.setdefault(query, {})[document] = 1 / (_K + rank)
        beside.append(own)
        for query, documents in read.items():
            of_query = fused.setdefault(query, {})
            for rank, document in enumerate(documents, 1):
                of_query[document] = of_query.get(document, 0.0) + 1 / (_K + rank)
    merged = {
        query: sorted(
            ((d, s) for d, s in documents.items() if d not in false.get(query, ())),
            key=lambda pair: (-pair[1], pair[0]),
        )[:depth]
        for query, documents in fused.items()
    }
    write_run(out, merged.items())
    with atomic_file(path_beside(out)) as file:
        lines = [head_beside(content_digest(str(out), cache))]
        for query in dict.fromkeys([*fused, *false]):
            of_runs = [own.get(query, {}) for own in beside]
            for document in of_runs[0]:
                if all(document in scores for scores in of_runs):
                    lines.append(f"{query}\t{document}\t{sum(s[document] for s in of_runs)!r}")
            lines += [f"{query}\t{document}\tinf" for document in sorted(false.get(query, ()))]
        file.write("".join(f"{line}\n" for line in lines).encode())
    return sum(map(len, merged.values())), notes


def _falling(documents: Mapping[str, float | None]) -> list[float] | None:
    """Return the negated scores of a query's documents, ascending; None if one has no score."""
    scores = list(documents.values())
    if any(score is None for score in scores):
        return None
    return sorted(-score for score in scores if score is not None)
