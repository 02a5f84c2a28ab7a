"""The sentences of the report: costs, rows and negatives that are left, scores, and lost text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_embedder_data.core.printable import one_line


def costs_in_words(diagnosis: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that the report prints below its tables.

    Args:
        diagnosis: the doctor's results, with the entries of :class:`~.diagnosis.Diagnosis`.
    """
    for name, entry in diagnosis["datasets"].items():
        yield from (f"{one_line(name)}: {line}" for line in _lines_of(entry))
    for name, not_written in diagnosis.get("fixed", {}).items():
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in not_written.items())
        yield f"{one_line(name)}: not in the cleaned file: {one_line(reasons) or 'nothing'}"
    plan = diagnosis["plan"]
    if plan is None:
        return
    padding = ", ".join(f"{share:.1%} if {layout}" for layout, share in plan["padding"].items())
    yield (
        f"an epoch: {plan['steps_per_epoch']:,} steps, {_rounded(plan['tokens_per_epoch'])} tokens "
        f"without padding; the share of padding is {padding} (data.layout={plan['layout']})"
    )
    prepared = plan["seconds_to_prepare"]
    took = "" if prepared is None else f", written or opened in {prepared:.1f} s"
    yield f"caches: {plan['cache_bytes'] / 1e6:,.1f} MB{took}"


def _rounded(number: float) -> str:
    """Return a number with three significant digits, in words.

    >>> _rounded(3_249_000)
    '3.25 million'
    """
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    return f"{float(f'{number:.3g}'):,.0f}"


def refusal_in_words(diagnosis: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that say that ``fit`` would be refused, and why; nothing if it would not be.

    Args:
        diagnosis: the doctor's results, with the entries of :class:`~.diagnosis.Diagnosis`.
    """
    if diagnosis["refused"] is not None:
        yield "fit with these settings would be refused:"
        yield from diagnosis["refused"].splitlines()


def _lines_of(entry: Mapping[str, Any]) -> Iterator[str]:
    below = entry["checks"].get("below_global_batch")
    if below is not None and below["count"]:
        yield below["examples"][0]["text"]
    if scores := entry.get("scores"):
        yield from _scores_in_words(scores)
    if (cut := entry.get("cut")) and cut["positives_cut"]:
        line = f"{cut['share_cut']:.1%} of {cut['positives']:,} positives looked at are cut off"
        if cut["positives_with_answer"]:
            line += (
                f"; {cut['answers_behind_cut']:,} of {cut['positives_with_answer']:,} that hold an "
                "answer lose it"
            )
        yield line
    if (selection := entry.get("selection")) is None:
        return
    if per_row := selection["negatives_per_row"]:
        yield _negatives_in_words(per_row)
    if selection["rows_left"]:
        yield "rows left: " + ", ".join(
            f"{n:,} after {reason}" for reason, n in selection["rows_left"].items()
        )
    for limit, left_out in selection["negatives_left_out"].items():
        by_epoch = left_out if isinstance(left_out, Mapping) else {0: left_out}
        for epoch, n in by_epoch.items():
            since = f" from epoch {epoch} on" if len(by_epoch) > 1 else ""
            yield f"{limit} leaves out {n:,} of {selection['negatives']:,} negatives{since}"
    if selection["rows_short_of_negatives"]:
        yield (
            f"{selection['rows_short_of_negatives']:,} rows have fewer than "
            f"{selection['keys_per_query'] - 1} hard negatives (data.train_group_size)"
        )


def _negatives_in_words(per_row: Mapping[str, Any]) -> str:
    """Return a line on the number of hard negatives of a row."""
    if per_row["fewest"] == per_row["most"]:
        return f"hard negatives a row: {per_row['most']:,}"
    ranges = ", ".join(f"{n} in {rows:,} rows" for n, rows in per_row["rows"].items())
    return f"hard negatives a row: median {per_row['median']:,}; {ranges}"


def _scores_in_words(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line on the scores of a training set; nothing if its files have none."""
    n_scored, n_incomplete = scores["rows_with_scores"], scores["rows_with_incomplete_scores"]
    if not n_scored and not n_incomplete:
        return
    kind = "teacher scores" if scores["are_teacher_scores"] else "scores of a miner"
    line = f"{kind}: {n_scored:,} rows with, {scores['rows_without_scores']:,} without"
    if n_scored:
        line += f"; from {scores['lowest']:g} to {scores['highest']:g}"
        if n_negative := scores["rows_with_negative_scores"]:
            line += f", negative ones in {n_negative:,} rows"
    if n_incomplete:
        line += f"; {n_incomplete:,} rows with incomplete scores"
        if scores["null_scores"] or scores["nan_scores"]:
            line += f" ({scores['null_scores']:,} null, {scores['nan_scores']:,} NaN or infinite)"
    yield line
