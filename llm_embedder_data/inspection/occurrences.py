"""Finding every step, rank and role in which a text occurs in training.

The rows with the text or id are searched for. The plan then gives the steps of these rows, and the
keys of these rows are chosen as in training, which shows the role of the text. No batch is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.inspection.batch_view.batch_text import location_text, shortened
from llm_embedder_data.inspection.batch_view.making import index_of
from llm_embedder_data.inspection.batch_view.row_texts import candidate_label
from llm_embedder_data.inspection.html_page import isolated, section
from llm_embedder_data.inspection.html_page import table as html_table
from llm_embedder_data.inspection.locations import located
from llm_embedder_data.inspection.plain_console import PlainConsole
from llm_embedder_data.rows.train_set import TrainSet

# The texts of this many rows are compared at a time.
_ROWS_AT_ONCE = 1 << 14

# The most rows, and the most occurrences, that are printed; JSON has all of them.
MOST_SHOWN = 60
_MOST_IN_HTML = 1000
_LONGEST_IN_HTML = 1000  # characters of the text


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row that contains the text.

    Attributes:
        dataset: the dataset's name.
        row: the row number in the dataset.
        position: the position among the dataset's kept rows; None if the row is dropped, so that
            no step has it.
        in_query: whether the text is the row's query.
        candidates: numbers of the row's candidates that are the text.
    """

    dataset: str
    row: int
    position: int | None
    in_query: bool
    candidates: tuple[int, ...]


class Occurrences(dict[str, Any]):
    """Where a text occurs: a dict that prints as a table.

    - ``text`` and ``id`` (one of them is None), ``epochs``, ``world_size``
    - ``rows``: for each row with the text ``dataset``, ``row``, ``file``, ``record``, ``line``,
      ``is_kept``, and ``roles``, what the text is in the file (query, pos 0, neg 3, ...)
    - ``steps``: for each occurrence ``epoch``, ``step``, ``rank``, ``position`` in the rank's
      batch, ``dataset``, ``row``, ``role`` (query, positive, negative, or "not chosen" if the text
      is not among the row's keys in that epoch), and ``in_batch_negative_of``, the number of other
      queries of the global batch for which the text is an in-batch negative
    """

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict, for JSON."""
        return dict(self)

    def _repr_html_(self) -> str:
        n_rows, n_steps = len(self["rows"]), len(self["steps"])
        rows = [
            (
                one_line(row["dataset"]),
                row["row"],
                location_text(row),
                ", ".join(row["roles"]) + ("" if row["is_kept"] else " (dropped: in no step)"),
            )
            for row in self["rows"][:_MOST_IN_HTML]
        ]
        names = ("epoch", "step", "rank", "position", "dataset", "row", "role")
        steps = [
            [*(found[name] for name in names), found["in_batch_negative_of"]]
            for found in self["steps"][:_MOST_IN_HTML]
        ]
        epochs, ranks = self["epochs"], self["world_size"]
        what = "the row with this id" if self["text"] is None else "the text"
        return (
            f"<blockquote>{isolated(self._sought(_LONGEST_IN_HTML))}</blockquote>"
            + section(
                f"Rows of the files: {n_rows:,}",
                html_table(["dataset", "row", "file", f"{what} is"], rows),
                _more(n_rows),
            )
            + section(
                f"Occurrences in batches: {n_steps:,} in {epochs:,} epoch{'s' * (epochs != 1)}, on "
                f"{ranks:,} rank{'s' * (ranks != 1)}",
                "<p>The last column says for how many other queries of the global batch the text "
                "is a negative too.</p>",
                html_table([*names, "negative of others"], steps),
                _more(n_steps),
            )
        )

    def _sought(self, longest: int) -> str:
        if self["text"] is None:
            return f"id {one_line(self['id'])}"
        return shortened(self["text"], longest)

    def __str__(self) -> str:
        console = PlainConsole(width=110)
        console.print(f"{self._sought(80)}: in {len(self['rows'])} rows")
        for row in self["rows"][:MOST_SHOWN]:
            dropped = "" if row["is_kept"] else ", dropped: in no step"
            console.print(
                f"  {one_line(row['dataset'])} row {row['row']} ({location_text(row)}): "
                f"{', '.join(row['roles'])}{dropped}"
            )
        table = Table(box=SIMPLE_HEAD)
        for name in ("epoch", "step", "rank", "query", "dataset", "row", "role", "in-batch"):
            table.add_column(name, justify="left" if name in ("dataset", "role") else "right")
        for found in self["steps"][:MOST_SHOWN]:
            others = found["in_batch_negative_of"]
            table.add_row(
                *(str(found[name]) for name in ("epoch", "step", "rank", "position")),
                one_line(found["dataset"]),
                str(found["row"]),
                found["role"],
                f"negative of {others} others" if others else "",
            )
        if self["steps"]:
            console.print(table)
        for name in ("rows", "steps"):
            if (n_more := len(self[name]) - MOST_SHOWN) > 0:
                console.print(f"and {n_more:,} more {name} (json= writes all)")
        if not self["steps"]:
            console.print(f"in no step of epochs 0 to {self['epochs'] - 1}")
        return "\n".join(line.rstrip() for line in console.text().split("\n"))


def _more(number: int) -> str:
    """Return a line on what an HTML table leaves out."""
    n_more = number - _MOST_IN_HTML
    return f"<p>and {n_more:,} more (json= writes all)</p>" if n_more > 0 else ""


def occurrences(
    plan: EpochPlan,
    groups: TrainGroups,
    train_sets: Mapping[str, TrainSet],
    *,
    text: str | None,
    id: str | int | None,
    epochs: int,
) -> Occurrences:
    """Find the occurrences of a text, or of the rows with a query id, in training.

    Args:
        plan: the plan of any epoch.
        groups: chooses the keys of rows, as in training.
        train_sets: training sets by name.
        text: a query or a candidate, exactly as in the data, without instruction; or None.
        id: a query id; exactly one of ``text`` and ``id`` is given.
        epochs: number of epochs to search, from epoch 0 on.

    Raises:
        ConfigError: no row has the text or the id.
    """
    found = [
        row
        for train_set in train_sets.values()
        for row in (_with_id(train_set, id) if text is None else _with_text(train_set, text))
    ]
    if not found:
        raise ConfigError(_not_found(train_sets, text, id))
    found = _without_repeats(train_sets, found)
    steps = [
        step
        for epoch in range(epochs)
        for step in _steps(plan.at(epoch), groups, train_sets, found, text)
    ]
    return Occurrences(
        text=text,
        id=id,
        epochs=epochs,
        world_size=plan.num_replicas,
        rows=_rows(train_sets, found),
        steps=steps,
    )


# --------------------------------------------------------------------------------------------------


def _with_text(train_set: TrainSet, text: str) -> Iterator[FoundRow]:
    """Yield the rows whose query, or a candidate of which, is the text."""
    for start, batch in _blocks(train_set):
        queries = set(_where(batch.column("query"), text))
        keys = batch.column("key")
        bounds = keys.offsets.to_numpy() - keys.offsets[0].as_py()
        candidates: dict[int, list[int]] = {row: [] for row in queries}
        for key in _where(keys.flatten(), text):
            row = int(np.searchsorted(bounds, key, side="right")) - 1
            candidates.setdefault(row, []).append(key - int(bounds[row]))
        for row in sorted(candidates):
            yield _found(train_set, start + row, row in queries, candidates[row])


def _with_id(train_set: TrainSet, id: str | int | None) -> Iterator[FoundRow]:
    """Yield the rows with a query id. An id of digits matches integers and strings."""
    table = train_set.rows.data.table
    matches = pc.equal(table.column("query_id_str"), str(id)).fill_null(False)
    digits = str(id).removeprefix("-")
    # Python refuses to convert thousands of digits, and 64 bits hold no more than 19.
    if digits.isdecimal() and len(digits) < 20 and int(digits) < 2**63:
        is_int = pc.equal(table.column("query_id_int"), int(str(id))).fill_null(False)
        matches = pc.or_(matches, is_int)
    for row in np.flatnonzero(matches.to_numpy(zero_copy_only=False)).tolist():
        yield _found(train_set, row, True)


def _found(
    train_set: TrainSet, row: int, in_query: bool, candidates: Sequence[int] = ()
) -> FoundRow:
    position = int(np.searchsorted(train_set.kept, row))
    is_kept = position < len(train_set.kept) and train_set.kept[position] == row
    return FoundRow(train_set.name, row, position if is_kept else None, in_query, tuple(candidates))


def _blocks(train_set: TrainSet) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield blocks of consecutive rows: the number of the block's first row, and its texts."""
    start = 0
    for batch in train_set.tables(["query", "key"]).blocks(_ROWS_AT_ONCE):
        yield start, batch
        start += len(batch)


def _where(texts: pa.Array, text: str) -> list[int]:
    """Return the indices of the texts that equal ``text``."""
    is_equal = pc.equal(texts, text).fill_null(False).to_numpy(zero_copy_only=False)
    indices: list[int] = np.flatnonzero(is_equal).tolist()
    return indices


def _without_repeats(
    train_sets: Mapping[str, TrainSet], found: Sequence[FoundRow]
) -> list[FoundRow]:
    """Return each row once, preferably for the training set that keeps it.

    A source with several tasks has a training set for each task, and these share its rows.
    """
    rows: dict[tuple[int, int], list[FoundRow]] = {}
    for row in found:
        rows.setdefault((id(train_sets[row.dataset].rows), row.row), []).append(row)
    return [
        next((row for row in same if row.position is not None), same[0]) for same in rows.values()
    ]


def _steps(
    plan: EpochPlan,
    groups: TrainGroups,
    train_sets: Mapping[str, TrainSet],
    found: Sequence[FoundRow],
    text: str | None,
) -> Iterator[dict[str, Any]]:
    """Yield the occurrences in an epoch, in the order of its steps."""
    row_at = {(row.dataset, row.position): row for row in found if row.position is not None}
    positions = {
        name: np.array([position for dataset, position in row_at if dataset == name], np.int64)
        for name in train_sets
    }
    if not row_at:
        return
    key_id = None if text is None else int(text_ids([text])[0])
    steps = np.unique(
        np.concatenate(
            [plan.steps_with(name, of_set) for name, of_set in positions.items() if len(of_set)]
        )
    ).tolist()
    for step, batch in zip(steps, plan.batches(steps), strict=True):
        slots = np.flatnonzero(np.isin(batch.rows, positions[batch.dataset]))
        if not len(slots):
            continue
        in_batch = tuple(batch.rows[slots].tolist())
        chosen = groups[BatchIndex(plan.epoch, step, batch.dataset, in_batch, batch.repeat)]
        keys = np.asarray(chosen["key_id"]).reshape(len(in_batch), -1)
        per_rank = plan.batch_size[batch.dataset]
        for number, slot in enumerate(slots.tolist()):
            row = row_at[batch.dataset, in_batch[number]]
            where = {
                "epoch": plan.epoch,
                "step": step,
                "rank": slot // per_rank,
                "position": slot % per_rank,
                "dataset": batch.dataset,
                "row": row.row,
            }
            if row.in_query:
                yield where | {"role": "query", "in_batch_negative_of": 0}
            if not row.candidates:
                continue
            columns = np.flatnonzero(keys[number] == key_id)
            roles = ["negative" if column else "positive" for column in columns.tolist()]
            others = 0
            if roles and chosen["in_batch_negatives"]:
                others = _n_others(plan, groups, step, slot, key_id)
            for role in dict.fromkeys(roles) or ("not chosen",):
                yield where | {"role": role, "in_batch_negative_of": others}


def _n_others(
    plan: EpochPlan, groups: TrainGroups, step: int, slot: int, key_id: int | None
) -> int:
    """Return for how many other queries of the step a key is an in-batch negative."""
    positive_id: NDArray[np.int64] = groups[index_of(plan, step, None)]["positive_id"]
    is_known = (positive_id == key_id).any(axis=1)
    is_known[slot] = True
    return int((~is_known).sum())


def _rows(train_sets: Mapping[str, TrainSet], found: Sequence[FoundRow]) -> list[dict[str, Any]]:
    listed = []
    for name, train_set in train_sets.items():
        of_set = [row for row in found if row.dataset == name]
        n_pos = train_set.rows.data.column("n_pos")
        locations = located(train_set, [row.row for row in of_set])
        for row, location in zip(of_set, locations, strict=True):
            n_labelled = n_pos[row.row].as_py()
            roles = ["query"] * row.in_query + [
                candidate_label(candidate, n_labelled) for candidate in row.candidates
            ]
            listed.append(
                {"dataset": name, "row": row.row, **location.as_dict()}
                | {"is_kept": row.position is not None, "roles": roles}
            )
    return listed


def _not_found(train_sets: Mapping[str, TrainSet], text: str | None, id: str | int | None) -> str:
    """Return the error message, which quotes a text that contains the missing text, if any does."""
    names = ", ".join(map(one_line, train_sets))
    if text is None:
        return f"id={id!r}: no row of {names} has this query id"
    for train_set in train_sets.values():
        for _, batch in _blocks(train_set):
            for texts in (batch.column("query"), batch.column("key").flatten()):
                near = texts.filter(pc.match_substring(texts, text))
                if len(near):
                    example = shortened(near[0].as_py(), 300)
                    return (
                        f"text={shortened(text, 80)!r} is no query and no candidate, but a part "
                        f"of one: {example!r} (give the text in full, as the data has it)"
                    )
    return (
        f"text={shortened(text, 80)!r}: no query and no candidate of {names} is or contains this "
        "text (give it as the data has it, without instruction)"
    )
