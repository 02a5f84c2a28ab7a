"""A training batch as the model gets it, decoded for reading as plain Python, text or HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.batches.tokens.model_inputs import layout_of
from llm_embedder_data.batches.tokens.row_instructions import Instructions, RowInstructions
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.batch_view.batch_html import batch_html
from llm_embedder_data.inspection.batch_view.batch_text import batch_text
from llm_embedder_data.inspection.batch_view.decoded_texts import DecodedText, decode_texts
from llm_embedder_data.inspection.batch_view.key_masks import GlobalKeys
from llm_embedder_data.inspection.batch_view.making import RankBatch, StepBatches
from llm_embedder_data.inspection.batch_view.model_texts import ids_of_side, shape_of_side
from llm_embedder_data.inspection.batch_view.passages import MOST_PASSAGES, passages_with
from llm_embedder_data.inspection.batch_view.row_texts import RowTexts, row_texts
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.train_set import TrainSet


class ShownBatch(dict[str, Any]):
    """The decoded batch of a training step: a dict that prints as text, in a notebook as HTML.

    - ``epoch``, ``step``, ``rank`` (None: all ranks), ``world_size``, ``global_batch``,
      ``dataset``, ``task``, ``in_batch_negatives``, ``layout``, ``cross``, ``notes``
    - ``ranks``: for each rank shown its number and, by side, ``shapes`` of ``input_ids``,
      ``texts``, ``tokens``, ``cells`` and ``padded_share``
    - ``queries``: for each query ``rank``, ``position`` in the rank's batch, ``row``, ``query_id``,
      ``file``, ``record``, ``line``, ``text``, ``instruction``, ``decoded`` (None with ``cross``),
      ``known_positives``, ``keys``, ``n_negatives`` and ``in_batch``
    - ``keys``: for each key ``role`` (positive, negative, padding), ``slot``, ``candidate`` (such
      as "neg 3": the name of the text in its row), ``text``, ``instruction``, ``decoded`` (with
      ``cross``, of the pair), ``teacher_score`` (as the loss gets it), ``raw_score``, ``masked``
      (the reason, or None), ``repeats_slot`` (an earlier slot with the same text, or None) and
      ``passage`` (corpus, file, record and line, where a corpus has this text)
    - ``in_batch``: ``negatives``, the keys of other queries of all ranks that are negatives; and
      ``masked``, those that are not, with ``rank``, ``position``, ``slot``, ``text`` and ``why``
      (padding is only counted, in ``padding``)
    - ``decoded``: ``ids``, ``segments`` ([{"kind": "special" | "instruction" | "text", "text",
      "tokens", "side"}]), ``n_tokens``, ``n_cut`` and ``cut`` (what truncation cut, for each text
      of a pair)
    """

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict, for JSON."""
        return dict(self)

    def __str__(self) -> str:
        return batch_text(self)

    def __repr__(self) -> str:
        where = "all ranks" if self["rank"] is None else f"rank {self['rank']}"
        return (
            f"ShownBatch(epoch {self['epoch']}, step {self['step']}, {where} of "
            f"{self['world_size']}: {len(self['queries'])} queries of {self['dataset']!r})"
        )

    def _repr_html_(self) -> str:
        return batch_html(self)


def show_batches(
    step: StepBatches,
    train_sets: Mapping[str, TrainSet],
    corpora: Mapping[str, Corpus],
    collator: RetrievalDataCollator,
    *,
    is_one_rank: bool,
    notes: Sequence[str] = (),
) -> ShownBatch:
    """Decode the batches of a step.

    Args:
        step: the batches.
        train_sets: training sets by name.
        corpora: corpora by name, in which the keys' texts are looked up.
        collator: the collator that made the batches.
        is_one_rank: whether the batch of one rank is shown, not the batches of all ranks.
        notes: sentences to show above the batch.
    """
    batch = step.ranks[0].batch
    train_set, plan = train_sets[batch["dataset"]], step.plan
    queries = [
        query for made in step.ranks for query in _queries(made, step.keys, train_set, collator)
    ]
    notes = [*notes, *_add_passages(queries, corpora)]
    sides = ["cross"] if "cross" in batch else ["query", "key"]
    return ShownBatch(
        epoch=plan.epoch,
        step=step.step,
        rank=step.ranks[0].rank if is_one_rank else None,
        world_size=plan.num_replicas,
        global_batch=plan.global_batch(train_set.name),
        dataset=train_set.name,
        task=train_set.task,
        in_batch_negatives=step.keys.in_batch_negatives,
        layout=layout_of(batch[sides[0]]),
        cross="cross" in batch,
        notes=notes,
        ranks=[
            {"rank": made.rank}
            | {side: shape_of_side(made.batch, side).as_dict() for side in sides}
            for made in step.ranks
        ],
        queries=queries,
    )


# --------------------------------------------------------------------------------------------------


def _queries(
    made: RankBatch, keys: GlobalKeys, train_set: TrainSet, collator: RetrievalDataCollator
) -> Iterator[dict[str, Any]]:
    """Yield the queries of a rank with their keys."""
    batch, rows = made.batch, made.batch["row"].tolist()
    texts = row_texts(train_set, rows)
    of_query, of_key = _decoded(made, texts, collator)
    instructions, n_keys = _instructions(made), batch["key_mask"].shape[1]
    for b, (row, location) in enumerate(zip(rows, located(train_set, rows), strict=True)):
        slots = slice(b * n_keys, (b + 1) * n_keys)
        number = made.rank * len(rows) + b  # among the queries of all ranks
        decoded = of_query[b] if of_query else None
        n_of_row, n_in_batch = keys.n_negatives(number)
        yield {
            "rank": made.rank,
            "position": b,
            "row": row,
            "query_id": batch["query_id"][b],
            **location.as_dict(),
            "text": texts[b].query,
            "instruction": instructions["query"][b],
            "decoded": None if decoded is None else decoded.as_dict(),
            "known_positives": texts[b].candidates[: texts[b].n_pos],
            "n_negatives": n_of_row,
            "keys": [
                {**key, "instruction": before, "decoded": decoded_key.as_dict()}
                for key, before, decoded_key in zip(
                    _keys(made, b, texts[b], keys, number),
                    instructions["key"][slots],
                    of_key[slots],
                    strict=True,
                )
            ],
            "in_batch": {"negatives": n_in_batch} | _masked(keys, number, texts[b], len(rows)),
        }


def _decoded(
    made: RankBatch, texts: Sequence[RowTexts], collator: RetrievalDataCollator
) -> tuple[list[DecodedText], list[DecodedText]]:
    """Return a rank's decoded queries and keys; with ``cross``, no queries and the pairs."""
    batch, instructions = made.batch, _instructions(made)
    assert collator.tokenizer is not None
    # If the tokenizer's class may change texts, there is no backend.
    has_offsets = collator.query_tokenizer.plain.backend is not None
    decode = partial(decode_texts, collator.tokenizer, has_offsets=has_offsets)
    n_keys = batch["key_mask"].shape[1]
    queries = [row.query for row in texts]
    keys = [
        "" if candidate is None else row.candidates[candidate]
        for b, row in enumerate(texts)
        for candidate in _chosen(made, b, row)
    ]
    if "cross" in batch:
        repeated = [text for text in queries for _ in range(n_keys)]
        before = [text for text in instructions["query"] for _ in range(n_keys)]
        pairs = list(zip(repeated, keys, strict=True))
        befores = list(zip(before, instructions["key"], strict=True))
        return [], decode(ids_of_side(batch, "cross"), pairs, befores)
    of_query, of_key = (
        decode(
            ids_of_side(batch, side),
            [(text,) for text in side_texts],
            [(before,) for before in instructions[side]],
        )
        for side, side_texts in (("query", queries), ("key", keys))
    )
    return of_query, of_key


def _chosen(made: RankBatch, b: int, row: RowTexts) -> list[int | None]:
    """Return the number of the candidate that each key of query ``b`` is; None for padding."""
    mask = made.batch["key_mask"]
    ids = made.batch["key_id"].view(mask.shape)[b].tolist()
    return [
        row.candidate(key) if real else None
        for key, real in zip(ids, mask[b].tolist(), strict=True)
    ]


def _instructions(made: RankBatch) -> dict[str, list[str]]:
    """Return the instruction before each query, and before each key."""
    groups, mask = made.groups, made.groups["key_mask"]
    of_key: Instructions = groups["key_instruction"]
    if isinstance(of_key, RowInstructions):
        of_key = of_key.of_keys(mask == 1)
    return {
        "query": _each(groups["query_instruction"], len(mask)),
        "key": _each(of_key, mask.size),
    }


def _each(instruction: Instructions, n_texts: int) -> list[str]:
    return [instruction] * n_texts if isinstance(instruction, str) else instruction.texts()


def _keys(
    made: RankBatch, b: int, row: RowTexts, keys: GlobalKeys, query: int
) -> Iterator[dict[str, Any]]:
    """Yield the entry of each key of a query, without its tokens.

    Args:
        made: the batch of the query's rank.
        b: number of the query in this batch.
        row: the texts of its row.
        keys: the keys of all ranks.
        query: number of the query among those of all ranks.
    """
    chosen, scores = _chosen(made, b, row), made.batch["teacher_scores"]
    masked, labelled = keys.masked(query)[query].tolist(), row.ids[: row.n_pos]
    for slot, candidate in enumerate(chosen):
        why = keys.reason(query, query, slot, labelled) if masked[slot] else None
        if candidate is None:
            yield {
                "slot": slot,
                "role": "padding",
                "candidate": None,
                "text": "",
                "teacher_score": None,
                "raw_score": None,
                "masked": why,
                "repeats_slot": None,
            }
            continue
        earliest = chosen.index(candidate)
        yield {
            "slot": slot,
            "role": "negative" if slot else "positive",
            "candidate": row.label(candidate),
            "text": row.candidates[candidate],
            "teacher_score": None if scores is None else _number(scores[b, slot]),
            "raw_score": _number(row.scores[candidate]),
            "masked": why,
            "repeats_slot": earliest if earliest < slot else None,
        }


def _number(value: Any) -> float | None:
    """Return a score in plain Python; None for NaN, which JSON does not have."""
    return None if np.isnan(number := float(value)) else number


def _masked(keys: GlobalKeys, query: int, row: RowTexts, per_rank: int) -> dict[str, Any]:
    """Return which keys of other queries are masked for a query."""
    known, is_padding = keys.known(query), keys.key_mask == 0
    known[query] = is_padding[query] = False
    labelled = row.ids[: row.n_pos]
    masked = []
    if keys.in_batch_negatives:
        for other, slot in zip(*(index.tolist() for index in np.nonzero(known)), strict=True):
            candidate = row.candidate(int(keys.key_id[other, slot]))
            masked.append(
                {
                    "rank": other // per_rank,
                    "position": other % per_rank,
                    "slot": slot,
                    "text": None if candidate is None else row.candidates[candidate],
                    "why": keys.reason(query, other, slot, labelled),
                }
            )
    return {"padding": int(is_padding.sum()), "masked": masked}


def _add_passages(queries: Sequence[dict[str, Any]], corpora: Mapping[str, Corpus]) -> list[str]:
    """Add the entry ``passage`` to each key; return notes on corpora that were not searched."""
    keys = [key for query in queries for key in query["keys"]]
    found = passages_with((key["text"] for key in keys), corpora)
    for key in keys:
        key["passage"] = None
        if key["text"] in found:
            corpus, location = found[key["text"]]
            key["passage"] = {"corpus": corpus, **location.as_dict()}
    return [
        f"corpus {one_line(name)} has more than {MOST_PASSAGES:,} passages and was not searched "
        "for the keys' texts"
        for name, corpus in corpora.items()
        if len(corpus.kept) > MOST_PASSAGES
    ]
