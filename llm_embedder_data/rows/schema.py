"""What a row must look like, and how a bad one is reported.

A file's columns come in as they were read and leave as one Arrow batch of canonical columns. A row
that breaks a rule keeps its place and carries the reason in the column ``fault``, so that row
numbers always count the records of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.core.hashing import hash_rows, mix
from llm_embedder_data.rows.columns import FLOATS, INTS, STRINGS, Column, Columns, Faults, shown

_IDENTITY = [
    ("query", pa.string()),
    ("query_id_int", pa.int64()),  # a row has one of the two, or neither: its number is its id then
    ("query_id_str", pa.string()),
    ("task", pa.string()),
    ("fault", pa.string()),  # null: the row is sound
]

# ``key`` holds the candidates of a row, positives first, so that scores and flags lie beside them.
TRAIN_SCHEMA = pa.schema(
    [
        *_IDENTITY,
        ("key", STRINGS),
        ("teacher_scores", FLOATS),  # null, or one a key
        ("first_same", pa.list_(pa.int32())),  # a key: the row's first key with the same text
        ("n_pos", pa.int32()),
        ("n_neg", pa.int32()),  # negatives whose text is no positive's
        ("n_neg_teacher", pa.int32()),  # of these, whose text is not that of the teacher's best key
        ("score_max", pa.float64()),
        ("score_min", pa.float64()),
    ]
)
RETRIEVE_SCHEMA = pa.schema([*_IDENTITY, ("pos_index", INTS)])
RERANK_SCHEMA = pa.schema(
    [
        *_IDENTITY,
        ("pos_index", INTS),
        ("key", STRINGS),
        ("key_index", INTS),
        ("counts_corpus", pa.bool_()),  # false: indices count the row's own candidates
    ]
)


_QUERY = Column("query", "string")
_TASK = Column("task", "string")
_POS = Column("pos", "strings")
_NEG = Column("neg", "strings")
_POS_INDEX = Column("pos_index", "integers")
_QUERY_ID = Column("query_id", "id")

TRAIN_COLUMNS = (
    _QUERY,
    _TASK,
    _POS,
    _NEG,
    Column("history", "strings"),
    Column("teacher_scores", "numbers"),
    _QUERY_ID,
)
RETRIEVE_COLUMNS = (_QUERY, _TASK, _POS_INDEX, _QUERY_ID)
_CANDIDATES = (
    Column("key", "strings"),
    Column("key_index", "integers"),
    _POS,
    _NEG,
    _POS_INDEX,
    Column("neg_index", "integers"),
)
RERANK_COLUMNS = (_QUERY, _TASK, *_CANDIDATES, _QUERY_ID)


def corpus_column(place: int) -> str:
    """The column of a corpus' n-th field: by place, so that it meets no name of ours."""
    return f"field_{place}"


def corpus_columns(n_fields: int) -> tuple[Column, ...]:
    """Those of a corpus: a number becomes its decimal text."""
    return tuple(Column(corpus_column(place), "text") for place in range(n_fields))


def train_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """:data:`TRAIN_COLUMNS` of some rows as a batch of :data:`TRAIN_SCHEMA`.

    ``history`` takes the place of pos and neg: its turns are the candidates, none is a labelled
    positive. ``faults`` has what is wrong with each row so far.
    """
    _require_query(columns["query"], faults)
    history = _ListView(columns["history"])
    pos, neg = _ListView(columns["pos"]), _ListView(columns["neg"])
    has_history = history.lengths > 0
    n_pos = np.where(has_history, 0, pos.lengths)
    n_neg = np.where(has_history, history.lengths, neg.lengths)

    # One run of positives and one of negatives a row, out of the three columns laid end to end.
    after_pos, after_neg = len(pos.values), len(pos.values) + len(neg.values)
    starts = np.stack(
        [pos.starts, np.where(has_history, after_neg + history.starts, after_pos + neg.starts)],
        axis=1,
    )
    lengths = np.stack([n_pos, n_neg], axis=1)
    places = _runs(starts.ravel(), lengths.ravel())
    texts = pa.concat_arrays([pos.values, neg.values, history.values])
    if len(places) != len(texts) or (places != np.arange(len(texts))).any():
        texts = texts.take(pa.array(places))
    n_key = n_pos + n_neg
    offsets = np.concatenate([[0], np.cumsum(n_key)])
    row_of_key = np.repeat(np.arange(len(n_key)), n_key)
    is_positive = np.arange(len(texts)) - offsets[row_of_key] < n_pos[row_of_key]

    first_same = _first_same(texts, offsets, row_of_key)
    usable_negative = ~is_positive & (first_same >= n_pos[row_of_key])
    _fault_where(n_key == 0, faults, lambda row: "no pos, neg or history (a row needs candidates)")
    null = np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))
    blank = np.flatnonzero(is_positive & _is_blank(texts))
    for key in [*null, *blank]:
        row = int(row_of_key[key])
        field = "history" if has_history[row] else "pos" if is_positive[key] else "neg"
        what = "blank text" if texts[int(key)].is_valid else "null"
        faults[row] = faults[row] or f"{field} holds a {what} (give a text, or take the entry out)"

    scores = columns["teacher_scores"]
    score_max, score_min = _checked_scores(scores, n_pos, n_neg, faults)
    is_best = _is_best(scores, n_key, faults)
    best_text = np.full(len(n_key), -1)
    best_text[row_of_key[is_best]] = first_same[is_best]
    left_to_teacher = usable_negative & (first_same != best_text[row_of_key])
    return _batch(
        TRAIN_SCHEMA,
        columns,
        faults,
        key=pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts),
        teacher_scores=scores,
        first_same=pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(first_same)),
        n_pos=pa.array(n_pos, pa.int32()),
        n_neg=_count(row_of_key[usable_negative], len(n_key)),
        n_neg_teacher=_count(row_of_key[left_to_teacher], len(n_key)),
        score_max=score_max,
        score_min=score_min,
    )


def retrieve_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """:data:`RETRIEVE_COLUMNS` of some rows as a batch of :data:`RETRIEVE_SCHEMA`.

    ``pos_index`` counts corpus records.
    """
    _require_query(columns["query"], faults)
    _refuse_negative("pos_index", columns, faults)
    return _batch(RETRIEVE_SCHEMA, columns, faults)


def rerank_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """:data:`RERANK_COLUMNS` of some rows as a batch of :data:`RERANK_SCHEMA`.

    Candidates are ``key``, and ``pos_index`` names the right ones; or they are ``pos`` followed by
    ``neg``, and the right ones are ``pos``. Their indices are ``key_index``, or ``pos_index``
    followed by ``neg_index``, which count corpus records; or else 0, 1, 2, ...
    """
    _require_query(columns["query"], faults)
    for name in ("pos_index", "key_index", "neg_index"):
        _refuse_negative(name, columns, faults)
    keys: list[list[str]] = []
    key_indices: list[list[int]] = []
    pos_indices: list[list[int] | None] = []
    counts_corpus: list[bool] = []
    rows = zip(*(columns[one.name].to_pylist() for one in _CANDIDATES), strict=True)
    for row, (key, key_index, pos, neg, pos_index, neg_index) in enumerate(rows):
        candidates = [*(pos or []), *(neg or [])] if key is None else key
        fault = None
        if key is None and key_index is None and pos_index is not None and neg_index is not None:
            key_index = [*pos_index, *neg_index]
            if len(pos_index) != len(pos or []):
                fault = f"{len(pos_index)} pos_index for {len(pos or [])} pos (give one each)"
        given = key_index is not None
        if not given:
            key_index = list(range(len(candidates)))
        if not candidates:
            fault = "no candidates (reranking needs key, or pos and neg)"
        elif any(text is None for text in candidates):
            fault = "a candidate is null (give a text, or take the entry out)"
        elif len(key_index) != len(candidates):
            fault = f"{len(key_index)} indices for {len(candidates)} candidates (give one each)"
        elif key is not None and not given and max(pos_index or [0]) >= len(candidates):
            fault = (
                f"pos_index holds {max(pos_index)}, and there are {len(candidates)} candidates, "
                "which it counts from 0 where there is no key_index (give key_index too, if it "
                "counts corpus records)"
            )
        faults[row] = faults[row] or fault
        keys.append(candidates)
        key_indices.append(key_index)
        pos_indices.append(key_index[: len(pos or [])] if key is None else pos_index)
        counts_corpus.append(given)
    return _batch(
        RERANK_SCHEMA,
        columns,
        faults,
        pos_index=pa.array(pos_indices, INTS),
        key=pa.array(keys, STRINGS),
        key_index=pa.array(key_indices, INTS),
        counts_corpus=pa.array(counts_corpus, pa.bool_()),
    )


def corpus_schema(n_fields: int) -> pa.Schema:
    """A corpus keeps the fields of its key template as strings."""
    names = map(corpus_column, range(n_fields))
    return pa.schema([*((name, pa.string()) for name in names), ("fault", pa.string())])


def corpus_batch(columns: Columns, faults: Faults) -> pa.RecordBatch:
    """:func:`corpus_columns` of some rows; a missing or null field stays null."""
    return _batch(corpus_schema(len(columns)), columns, faults)


# --------------------------------------------------------------------------------------------------


class _ListView:
    """The flat values of a list column with every row's start and length, 0 for null."""

    def __init__(self, column: pa.ListArray) -> None:
        offsets = column.offsets.to_numpy()
        self.starts: NDArray[np.int64] = offsets[:-1].astype(np.int64)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        self.lengths: NDArray[np.int64] = np.where(valid, np.diff(offsets), 0).astype(np.int64)
        self.values: pa.Array = column.values


def _runs(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``starts[0], starts[0] + 1, ..., starts[1], ...``: ``lengths[i]`` numbers from each."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    runs: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return runs


def _first_same(
    texts: pa.StringArray, offsets: NDArray[np.int64], row_of_key: NDArray[np.int64]
) -> NDArray[np.int32]:
    """For each key the place within its row of the first key with the same text, [n_keys] int32."""
    place = np.arange(len(texts)) - offsets[row_of_key]
    # Few rows have a text twice; only those that may are looked at closely.
    looks = np.sort(seen := _looks(texts, row_of_key))
    twice = looks[1:][looks[1:] == looks[:-1]]
    if len(twice):
        rows = np.unique(row_of_key[np.isin(seen, twice)])
        keys = np.flatnonzero(np.isin(row_of_key, rows))
        encoded = texts.take(pa.array(keys)).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        named = row_of_key[keys] * (len(encoded.dictionary) + 1) + codes
        _, first, inverse = np.unique(named, return_index=True, return_inverse=True)
        place[keys] = place[keys[first[inverse]]]
    return place.astype(np.int32)


def _looks(texts: pa.StringArray, row_of_key: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A word for each key, ``[n_keys]``: the same for the same text in the same row.

    Of the text it sees the length, and 8 bytes each from its beginning, middle and end.
    """
    _, bounds, content = texts.buffers()
    ends = np.frombuffer(bounds, np.int32)[: len(texts) + 1].astype(np.int64)
    starts, lengths = ends[:-1], np.diff(ends)
    size = int(ends[-1])
    held = np.frombuffer(content, np.uint8)[:size] if size > 8 else _filled_up(content, size)
    words = np.ndarray(len(held) - 7, "<u8", held, strides=(1,))  # 8 bytes from each place on
    # Of a text that is shorter, what comes behind it is cut off.
    n_bits = np.minimum(lengths, 7).astype(np.uint64) * np.uint64(8)
    cut = np.where(lengths < 8, (np.uint64(1) << n_bits) - np.uint64(1), ~np.uint64(0))
    looks = hash_rows(0, row_of_key) + lengths.astype(np.uint64)
    last = np.maximum(lengths - 8, 0)
    for at in (starts, starts + last // 2, starts + last):
        before = np.minimum(at, len(held) - 8)
        looks = mix(looks + (words[before] >> (8 * (at - before)).astype(np.uint64) & cut))
    return looks


def _filled_up(content: pa.Buffer | None, size: int) -> NDArray[np.uint8]:
    held = np.zeros(8, np.uint8)
    held[:size] = np.frombuffer(content or b"", np.uint8)[:size]
    return held


def _require_query(query: pa.Array, faults: Faults) -> None:
    missing = query.is_null().to_numpy(zero_copy_only=False)
    _fault_where(missing, faults, lambda row: "no query (a row needs a query)")
    _fault_where(_is_blank(query), faults, lambda row: "query is blank (give it a text)")


def _refuse_negative(name: str, columns: Columns, faults: Faults) -> None:
    view = _ListView(columns[name])
    values = view.values.to_numpy(zero_copy_only=False)[_runs(view.starts, view.lengths)]
    lowest = np.zeros(len(faults), np.int64)
    np.minimum.at(lowest, np.repeat(np.arange(len(faults)), view.lengths), values)
    _fault_where(
        lowest < 0,
        faults,
        lambda row: f"{name} holds {lowest[row]} (an index counts records from 0)",
    )


def _is_blank(texts: pa.StringArray) -> NDArray[np.bool_]:
    empty = pc.equal(pc.binary_length(texts), 0)
    blank: NDArray[np.bool_] = (
        pc.or_(empty, pc.utf8_is_space(texts)).fill_null(False).to_numpy(zero_copy_only=False)
    )
    return blank


def _checked_scores(
    column: pa.ListArray,
    n_pos: NDArray[np.int64],
    n_neg: NDArray[np.int64],
    faults: Faults,
) -> tuple[pa.Array, pa.Array]:
    """The highest and the lowest score of each row, null where a row has none."""
    view = _ListView(column)
    scored = column.is_valid().to_numpy(zero_copy_only=False)
    _fault_where(
        scored & (view.lengths != n_pos + n_neg),
        faults,
        lambda row: (
            f"teacher_scores has {view.lengths[row]} values for {n_pos[row]} positives and "
            f"{n_neg[row]} negatives ({n_pos[row] + n_neg[row]} are needed, or leave the field out)"
        ),
    )
    values = view.values.fill_null(np.nan).to_numpy(zero_copy_only=False)
    filled = np.flatnonzero(view.lengths)
    highest, lowest = np.full(len(column), np.nan), np.full(len(column), np.nan)
    if len(filled):
        # Null lists take no values, so the filled ones lie end to end.
        highest[filled] = np.maximum.reduceat(values, view.starts[filled])
        lowest[filled] = np.minimum.reduceat(values, view.starts[filled])
    finite = np.isfinite(highest) & np.isfinite(lowest)
    bad = (view.lengths > 0) & ~finite
    _fault_where(
        bad,
        faults,
        lambda row: (
            f"teacher_scores={shown(column[row].as_py())} holds a value that is no finite number "
            "(give a finite one, or leave the field out)"
        ),
    )
    return pa.array(highest, mask=~finite), pa.array(lowest, mask=~finite)


def _is_best(
    scores: pa.ListArray, n_key: NDArray[np.int64], faults: Sequence[str | None]
) -> NDArray[np.bool_]:
    """``[n_keys]`` bool, the first key of each row with its highest score; none in rows without."""
    best = np.zeros(int(n_key.sum()), bool)
    view = _ListView(scores)
    values = view.values.to_numpy(zero_copy_only=False)
    sound = np.array([fault is None for fault in faults], bool)
    scored = np.flatnonzero((view.lengths > 0) & sound)
    if not len(scored):
        return best
    lengths = view.lengths[scored]  # n_key's, or there is a fault
    starts = np.cumsum(lengths) - lengths
    values = values[_runs(view.starts[scored], lengths)]
    is_highest = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), lengths))
    first = is_highest[np.searchsorted(is_highest, starts)]
    best[(np.cumsum(n_key) - n_key)[scored] + first - starts] = True
    return best


def _count(rows: NDArray[np.int64], n_rows: int) -> pa.Array:
    return pa.array(np.bincount(rows, minlength=n_rows), pa.int32())


def _fault_where(mask: NDArray[np.bool_], faults: Faults, sentence: Any) -> None:
    for row in np.flatnonzero(mask):
        faults[row] = faults[row] or sentence(int(row))


def _batch(schema: pa.Schema, columns: Columns, faults: Faults, **more: pa.Array) -> pa.RecordBatch:
    arrays = {**columns, "fault": pa.array(faults, pa.string()), **more}
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
