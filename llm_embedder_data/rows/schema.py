"""What a row must look like, and how a bad one is reported.

A file's records come in as plain dicts and leave as one Arrow batch of canonical columns. What a
column is read as depends on this page alone, never on which rows come first; other columns are not
looked at. A row that breaks a rule keeps its place and carries the reason in the column ``fault``,
so that row numbers always count the records of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Record = Mapping[str, Any] | None  # None stands for a line that could not be parsed

STRINGS = pa.list_(pa.string())
FLOATS = pa.list_(pa.float64())
INTS = pa.list_(pa.int64())

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
RERANK_SCHEMA = pa.schema([*_IDENTITY, ("pos_index", INTS), ("key", STRINGS), ("key_index", INTS)])


class DataError(ValueError):
    """A file or a row that cannot be used; ``path`` and ``row`` say which.

    Built from its message alone: a DataLoader re-raises a worker's exception as ``type(message)``,
    and one whose constructor wants more comes back as a bare RuntimeError (torch 2.13).
    """

    path: str | None = None
    row: int | None = None

    @classmethod
    def at(
        cls, path: str, sentence: str, *, row: int | None = None, line: int | None = None
    ) -> DataError:
        """An error that begins with the place; rows are counted from 0, lines from 1."""
        place = path if row is None else f"{path}, row {row}"
        place += "" if line is None else f" (line {line})"
        error = cls(f"{place}: {sentence}")
        error.path, error.row = path, row
        return error


@dataclass(frozen=True, slots=True)
class Column:
    """What one field of a record may hold; null and missing are one, and always allowed here."""

    name: str
    type: pa.DataType
    python: type  # str or list

    @property
    def wanted(self) -> str:
        if self.python is str:
            return "a string"
        return {STRINGS: "a list of strings", FLOATS: "a list of numbers"}.get(
            self.type, "a list of integers"
        )


QUERY = Column("query", pa.string(), str)
TASK = Column("task", pa.string(), str)
POS = Column("pos", STRINGS, list)
NEG = Column("neg", STRINGS, list)
HISTORY = Column("history", STRINGS, list)
TEACHER_SCORES = Column("teacher_scores", FLOATS, list)
KEY = Column("key", STRINGS, list)
KEY_INDEX = Column("key_index", INTS, list)
POS_INDEX = Column("pos_index", INTS, list)
NEG_INDEX = Column("neg_index", INTS, list)

TRAIN_COLUMNS = (QUERY, TASK, POS, NEG, HISTORY, TEACHER_SCORES)
RETRIEVE_COLUMNS = (QUERY, TASK, POS_INDEX)
RERANK_COLUMNS = (QUERY, TASK, KEY, KEY_INDEX, POS, NEG, POS_INDEX, NEG_INDEX)
QUERY_ID = "query_id"


def train_batch(records: Sequence[Record], faults: list[str | None]) -> pa.RecordBatch:
    """Training records as a batch of :data:`TRAIN_SCHEMA`.

    ``history`` takes the place of pos and neg: its turns are the candidates, none is a labelled
    positive. ``faults`` has one entry a record, a sentence where the record could not even be
    parsed.
    """
    columns = _columns(records, TRAIN_COLUMNS, faults)
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
    texts = pa.concat_arrays([pos.values, neg.values, history.values]).take(pa.array(places))
    n_key = n_pos + n_neg
    offsets = np.concatenate([[0], np.cumsum(n_key)])
    row_of_key = np.repeat(np.arange(len(n_key)), n_key)
    is_positive = np.arange(len(texts)) - offsets[row_of_key] < n_pos[row_of_key]

    first_same = _first_same(texts, offsets, row_of_key)
    usable_negative = ~is_positive & (first_same >= n_pos[row_of_key])
    _fault_where(n_key == 0, faults, lambda row: "no pos, neg or history (a row needs candidates)")
    null = np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))
    blank = (
        pc.equal(pc.utf8_trim_whitespace(texts), "").fill_null(False).to_numpy(zero_copy_only=False)
    )
    for key in [*null, *np.flatnonzero(blank & is_positive)]:
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
        records,
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


def retrieve_batch(records: Sequence[Record], faults: list[str | None]) -> pa.RecordBatch:
    """Eval records as a batch of :data:`RETRIEVE_SCHEMA`; ``pos_index`` counts corpus records."""
    columns = _columns(records, RETRIEVE_COLUMNS, faults)
    _require_query(columns["query"], faults)
    return _batch(RETRIEVE_SCHEMA, records, columns, faults, pos_index=columns["pos_index"])


def rerank_batch(records: Sequence[Record], faults: list[str | None]) -> pa.RecordBatch:
    """Eval records as a batch of :data:`RERANK_SCHEMA`: candidates, their indices, the right ones.

    Candidates are ``key``, and ``pos_index`` names the right ones; or they are ``pos`` followed by
    ``neg``, and the right ones are ``pos``. Their indices are ``key_index``, or ``pos_index``
    followed by ``neg_index``, or 0, 1, 2, ...
    """
    columns = _columns(records, RERANK_COLUMNS, faults)
    _require_query(columns["query"], faults)
    keys: list[list[str]] = []
    key_indices: list[list[int]] = []
    pos_indices: list[list[int] | None] = []
    rows = zip(*(columns[c.name].to_pylist() for c in RERANK_COLUMNS[2:]), strict=True)
    for row, (key, key_index, pos, neg, pos_index, neg_index) in enumerate(rows):
        candidates = [*(pos or []), *(neg or [])] if key is None else key
        if key is None and key_index is None and pos_index is not None and neg_index is not None:
            key_index = [*pos_index, *neg_index]
        if key_index is None:
            key_index = list(range(len(candidates)))
        fault = None
        if not candidates:
            fault = "no candidates (reranking needs key, or pos and neg)"
        elif any(text is None for text in candidates):
            fault = "a candidate is null (give a text, or take the entry out)"
        elif len(key_index) != len(candidates):
            fault = f"{len(key_index)} indices for {len(candidates)} candidates (give one each)"
        faults[row] = faults[row] or fault
        keys.append(candidates)
        key_indices.append(key_index)
        pos_indices.append(key_index[: len(pos or [])] if key is None else pos_index)
    return _batch(
        RERANK_SCHEMA,
        records,
        columns,
        faults,
        pos_index=pa.array(pos_indices, INTS),
        key=pa.array(keys, STRINGS),
        key_index=pa.array(key_indices, INTS),
    )


def corpus_schema(fields: Sequence[str]) -> pa.Schema:
    """A corpus keeps the fields of its key template as strings."""
    return pa.schema([*((name, pa.string()) for name in fields), ("fault", pa.string())])


def corpus_batch(
    records: Sequence[Record], faults: list[str | None], fields: Sequence[str]
) -> pa.RecordBatch:
    """Corpus records; a number becomes its decimal text, a missing or null field stays null."""
    arrays = []
    for name in fields:
        values = [None if record is None else record.get(name) for record in records]
        texts = [str(value) if type(value) in (int, float) else value for value in values]
        arrays.append(_array(texts, Column(name, pa.string(), str), faults))
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(faults, pa.string())], schema=corpus_schema(fields)
    )


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
    texts: pa.Array, offsets: NDArray[np.int64], row_of_key: NDArray[np.int64]
) -> NDArray[np.int32]:
    """For each key the place within its row of the first key with the same text, [n_keys] int32."""
    encoded = texts.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    named = row_of_key * (len(encoded.dictionary) + 1) + codes
    _, first, inverse = np.unique(named, return_index=True, return_inverse=True)
    return (first[inverse] - offsets[row_of_key]).astype(np.int32)


def _columns(
    records: Sequence[Record], wanted: Sequence[Column], faults: list[str | None]
) -> dict[str, pa.Array]:
    """Arrow columns of the records' fields; a value of another type is a fault and reads null."""
    columns = {}
    for column in wanted:
        values = [None if record is None else record.get(column.name) for record in records]
        columns[column.name] = _array(values, column, faults)
    return columns


def _array(values: list[Any], column: Column, faults: list[str | None]) -> pa.Array:
    array = _converted(values, column)
    if array is not None:
        return array
    for row, value in enumerate(values):
        if _converted([value], column) is None:
            sentence = f"{column.name}={_shown(value)} ({column.wanted} is needed)"
            faults[row] = faults[row] or sentence
            values[row] = None
    return pa.array(values, column.type)


def _converted(values: list[Any], column: Column) -> pa.Array | None:
    # pa.array would take the string "abc" for the list ["a", "b", "c"], and 1.5 for the integer 1.
    if not set(map(type, values)) <= {column.python, type(None)}:
        return None
    if column.type == INTS and not {type(one) for row in values for one in row or ()} <= {int}:
        return None
    try:
        return pa.array(values, column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return None


def _require_query(query: pa.Array, faults: list[str | None]) -> None:
    missing = query.is_null().to_numpy(zero_copy_only=False)
    _fault_where(missing, faults, lambda row: "no query (a row needs a query)")
    blank = pc.equal(pc.utf8_trim_whitespace(query), "").fill_null(False)
    _fault_where(
        blank.to_numpy(zero_copy_only=False), faults, lambda row: "query is blank (give it a text)"
    )


def _checked_scores(
    column: pa.ListArray,
    n_pos: NDArray[np.int64],
    n_neg: NDArray[np.int64],
    faults: list[str | None],
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
            f"teacher_scores={_shown(column[row].as_py())} holds a value that is no finite number "
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


def _fault_where(mask: NDArray[np.bool_], faults: list[str | None], sentence: Any) -> None:
    for row in np.flatnonzero(mask):
        faults[row] = faults[row] or sentence(int(row))


def _batch(
    schema: pa.Schema,
    records: Sequence[Record],
    columns: Mapping[str, pa.Array],
    faults: list[str | None],
    **more: pa.Array,
) -> pa.RecordBatch:
    ints: list[int | None] = []
    strings: list[str | None] = []
    for row, record in enumerate(records):
        value = None if record is None else record.get(QUERY_ID)
        is_int = type(value) is int and -(2**63) <= value < 2**63
        if value is not None and not is_int and not isinstance(value, str):
            faults[row] = (
                faults[row] or f"query_id={_shown(value)} (an integer or a string is needed)"
            )
        ints.append(value if is_int else None)
        strings.append(value if isinstance(value, str) else None)
    arrays = {
        "query": columns["query"],
        "query_id_int": pa.array(ints, pa.int64()),
        "query_id_str": _array(strings, Column(QUERY_ID, pa.string(), str), faults),
        "task": columns["task"],
        "fault": pa.array(faults, pa.string()),
        **more,
    }
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
