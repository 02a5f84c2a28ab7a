"""Scoring all rows of a source, part by part, into a score file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.mining.scoring.score_parts import ScoreParts
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore, ScoredRow
from llm_embedder_data.mining.scoring.teacher import RowScore, Teacher
from llm_embedder_data.mining.store_fingerprint import weights_digest

# Part of the fingerprint. Increase it when scores are computed in another way.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """How the rows of a source are divided into parts; the same for any number of processes.

    Attributes:
        n_rows: number of rows of each part.
        n_inputs: number of the teacher's inputs of each part.
        tasks: the tasks of the rows, without repeats.
        digest: digest of all rows.
    """

    n_rows: tuple[int, ...]
    n_inputs: tuple[int, ...]
    tasks: tuple[str, ...]
    digest: str


def plan_parts(rows: RowsToScore, inputs_per_part: int = 4096) -> ScoringPlan:
    """Read all rows, and divide them into parts.

    Args:
        rows: the rows of the source.
        inputs_per_part: a part ends with the row that brings its inputs to this number. A process
            that is killed loses at most a part. Inputs are sorted by length within a part.

    Raises:
        DataError: a row cannot be scored, or there are no rows.
        ConfigError: a setting cannot be used.
    """
    if type(inputs_per_part) is not int or inputs_per_part < 1:
        raise ConfigError(
            f"inputs_per_part={inputs_per_part!r}: expected a whole number of at least 1"
        )
    hashed = xxhash.xxh3_128(str(inputs_per_part).encode())
    n_rows, n_inputs, tasks = [0], [0], dict[str, None]()
    for row in rows:
        if n_inputs[-1] >= inputs_per_part:
            n_rows.append(0)
            n_inputs.append(0)
        n_rows[-1] += 1
        n_inputs[-1] += row.n_inputs
        tasks[row.task] = None
        content = (row.query_id, row.digest, row.task, row.instruction, row.answers, row.context)
        hashed.update(json.dumps(content).encode())
    if not tasks:
        raise DataError(f"there are no rows to score:\n{rows.report}")
    return ScoringPlan(tuple(n_rows), tuple(n_inputs), tuple(tasks), hashed.hexdigest())


def parts_of_scores(teacher: Teacher, plan: ScoringPlan, out: Path) -> ScoreParts:
    """Return the parts of the score file of a teacher.

    Args:
        teacher: the teacher, with its weights in memory.
        plan: the plan of the rows.
        out: the score file.
    """
    everything = {
        "version": _VERSION,
        "facts": teacher.facts(),
        "weights": weights_digest(teacher.model.state_dict()),
        "rows": plan.digest,
    }
    text = json.dumps(everything, sort_keys=True)
    fingerprint = xxhash.xxh3_128_hexdigest(text.encode())
    return ScoreParts(out, fingerprint, len(plan.n_rows))


def score_parts(
    numbers: Sequence[int],
    rows: RowsToScore,
    teacher: Teacher,
    plan: ScoringPlan,
    parts: ScoreParts,
    progress: Callable[[int], None] = lambda n_inputs: None,
) -> None:
    """Score the rows of some parts, and write these parts.

    While a part is scored, the next is read and tokenized in a thread.

    Args:
        numbers: the numbers of the parts.
        rows: the rows of the source, unchanged since the plan was made.
        teacher: the teacher, on the device to compute on.
        plan: the plan of the rows.
        parts: the parts of the score file.
        progress: called with the number of inputs of each batch.

    Raises:
        DataError: rows changed, cannot be scored, or got a score that is not finite; or a part
            cannot be written.
    """
    reading = _rows_by_part(set(numbers), rows, plan)

    def prepared_next() -> tuple[int, list[ScoredRow], Any] | None:
        part = next(reading, None)
        return None if part is None else (*part, teacher.prepare(part[1]))

    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(prepared_next)
        while (part := ahead.result()) is not None:
            ahead = thread.submit(prepared_next)
            number, of_part, prepared = part
            teacher.counts.clear()
            scores = teacher.scores(prepared, progress)
            _check(of_part, scores, skips=rows.skips_bad_rows)
            counts = (
                Counter({"rows": len(of_part), "inputs": plan.n_inputs[number]}) + teacher.counts
            )
            lines = [_line(row, of_row) for row, of_row in zip(of_part, scores, strict=True)]
            parts.write(number, lines, counts)


def _rows_by_part(
    numbers: set[int], rows: RowsToScore, plan: ScoringPlan
) -> Iterator[tuple[int, list[ScoredRow]]]:
    reading = iter(rows)
    last = max(numbers, default=-1)
    for number, n_rows in enumerate(plan.n_rows[: last + 1]):
        of_part = list(islice(reading, n_rows))
        if sum(row.n_inputs for row in of_part) != plan.n_inputs[number]:
            raise DataError(
                "the rows changed while they were scored (start again when they are complete)"
            )
        if number in numbers:
            yield number, of_part


def _check(rows: Sequence[ScoredRow], scores: Sequence[RowScore], *, skips: bool) -> None:
    for row, of_row in zip(rows, scores, strict=True):
        if of_row is None and not skips:
            raise DataError(
                f"query id {row.query_id!r}: with key, context and query cut to nothing, an answer "
                "is still longer than max_length (raise max_length; data.on_bad_row=skip writes no "
                "scores for such rows)"
            )
        if of_row is not None and not all(map(math.isfinite, of_row)):
            raise DataError(
                f"query id {row.query_id!r}: the teacher gives a score that is not finite (try "
                "dtype=float32)"
            )


def _line(row: ScoredRow, scores: RowScore) -> dict[str, Any]:
    # Nine significant digits represent a float32 exactly.
    rounded = None if scores is None else [float(f"{score:.9g}") for score in scores]
    return {"query_id": row.query_id, "scores": rounded, "digest": row.digest}
