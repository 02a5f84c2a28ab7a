"""Showing a decoded batch as text, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.table import Table

from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.plain_console import PlainConsole

# The most queries that are shown; JSON has all of them.
MOST_QUERIES = 32

# The most characters of a text, and of a part that was cut off, that are shown.
_LONGEST_TEXT = 240
_LONGEST_CUT = 120


def batch_text(batch: Mapping[str, Any]) -> str:
    """Return a :class:`ShownBatch` as text. Instructions are marked by ``[[ ]]``."""
    console = PlainConsole(width=120)
    for line in headline(batch):
        console.print(line)
    for query in batch["queries"][:MOST_QUERIES]:
        console.print()
        for line in _query_lines(batch, query):
            console.print(line)
        console.print(Padding(_keys_table(query), (0, 0, 0, 2)))
        for line in in_batch_lines(batch, query):
            console.print(f"  {line}")
    if (n_more := len(batch["queries"]) - MOST_QUERIES) > 0:
        console.print(f"\nand {n_more:,} more queries (rank= shows one rank, json= writes all)")
    return "\n".join(line.rstrip() for line in console.text().split("\n"))


def headline(batch: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines above the queries: step, dataset, shapes of tensors, and notes."""
    world = batch["world_size"]
    every = "the only rank" if world == 1 else f"all {world} ranks"
    ranks = every if batch["rank"] is None else f"rank {batch['rank']} of {world}"
    kind = "pairs for a cross-encoder" if batch["cross"] else "queries and keys"
    yield (
        f"epoch {batch['epoch']}, step {batch['step']}, {ranks}: {one_line(batch['dataset'])} "
        f"(task {one_line(batch['task'])}), {len(batch['queries'])} of a global batch of "
        f"{batch['global_batch']} rows, {kind}, layout {batch['layout']}"
    )
    for rank in batch["ranks"]:
        for side in ("query", "key", "cross"):
            if side in rank:
                shown = rank[side]
                shapes = ", ".join(" x ".join(map(str, shape)) for shape in shown["shapes"][:4])
                more = f" and {len(shown['shapes']) - 4} more" if len(shown["shapes"]) > 4 else ""
                yield (
                    f"  rank {rank['rank']}, {side}: {shown['texts']} texts as {shapes}{more}; "
                    f"{shown['tokens']:,} tokens, {shown['padded_share']:.1%} padding"
                )
    for note in batch["notes"]:
        yield f"  note: {one_line(note)}"


def in_batch_lines(batch: Mapping[str, Any], query: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on a query's in-batch negatives, and on the keys that are masked."""
    in_batch = query["in_batch"]
    if not batch["in_batch_negatives"]:
        why = "pairs" if batch["cross"] else "in_batch_negatives is off for this dataset"
        yield f"keys of other queries are no negatives ({why})"
        return
    parts = [f"{in_batch['negatives']:,} keys of other queries of all ranks are negatives"]
    if in_batch["padding"]:
        parts.append(f"{in_batch['padding']:,} are padding")
    yield "; ".join(parts)
    for key in in_batch["masked"]:
        text = "" if key["text"] is None else f": {shortened(key['text'], _LONGEST_CUT)}"
        yield (
            f"masked: key {key['slot']} of query {key['position']} on rank {key['rank']}, "
            f"{key['why']}{text}"
        )


def shortened(text: str, longest: int) -> str:
    """Return a text on a single line; the middle of a text longer than ``longest`` is left out."""
    text = one_line(text)
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def location_text(at: Mapping[str, Any]) -> str:
    """Return the name of a file with the line, or the record if the file has no lines."""
    name = Path(at["file"]).name or at["file"]
    where = f":{at['line']}" if at["line"] is not None else f", record {at['record']}"
    return one_line(f"{name}{where}")


def _query_lines(batch: Mapping[str, Any], query: Mapping[str, Any]) -> Iterator[str]:
    where = one_line(
        query["file"]
        + (f":{query['line']}" if query["line"] is not None else f", record {query['record']}")
    )
    yield (
        f"query {query['position']} on rank {query['rank']} (row {query['row']}, id "
        f"{one_line(query['query_id'])}; {where})"
    )
    if batch["cross"]:
        yield f"  {shortened(query['text'], _LONGEST_TEXT)}"
    else:
        yield f"  {_model_text(query['decoded'])}"


def _model_text(decoded: Mapping[str, Any]) -> str:
    """Return a decoded text on a single line, with its number of tokens and what was cut."""
    parts = []
    for part in decoded["segments"]:
        text = shortened(part["text"], _LONGEST_TEXT)
        parts.append(f"[[{text}]]" if part["kind"] == "instruction" else text)
    line = f"{' '.join(parts)}  ({decoded['n_tokens']} tokens)"
    for cut in decoded["cut"]:
        if cut:
            line += f"  CUT {decoded['n_cut']} tokens: {shortened(cut, _LONGEST_CUT)}"
    return line if decoded["is_aligned"] else f"{line}  (instruction and cut unknown)"


def _keys_table(query: Mapping[str, Any]) -> Table:
    has_scores = any(key["teacher_score"] is not None for key in query["keys"])
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    if has_scores:
        table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for key in query["keys"]:
        role = {"positive": "+", "negative": "-", "padding": "."}[key["role"]]
        name = f"{role} {key['slot']} {key['candidate'] or 'padding'}"
        score = key["teacher_score"]
        scores = [("" if score is None else f"{score:.4g}")] if has_scores else []
        table.add_row(name, *scores, _key_text(key))
    return table


def _key_text(key: Mapping[str, Any]) -> str:
    if key["role"] == "padding":
        return f"masked: {key['masked']}"
    line = _model_text(key["decoded"])
    if key["repeats_slot"] is not None:
        line += f"  (the text of key {key['repeats_slot']} again)"
    if key["masked"]:
        line += f"  MASKED: {key['masked']}"
    if key["passage"]:
        line += f"  (corpus {one_line(key['passage']['corpus'])}, {location_text(key['passage'])})"
    return line
