"""The builders: which rows of a source are used, and what became of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import Recipe
from llm_embedder_data.core.errors import DataError, did_you_mean
from llm_embedder_data.core.hashing import stream_seed
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows import schema
from llm_embedder_data.rows.columns import Column, renamed
from llm_embedder_data.rows.field_names import read_from
from llm_embedder_data.rows.file_shapes import ids_for_texts, not_read
from llm_embedder_data.rows.filters import (
    FIRST_ELSE_TEACHER,
    OnNoNegatives,
    TrainSettings,
    count_reasons,
    drop_reasons,
    sample,
    statistics_by_block,
)
from llm_embedder_data.rows.key_templates import DEFAULT_KEY_TEMPLATE, parse_template
from llm_embedder_data.rows.readers import (
    Reading,
    content_digest,
    default_cache_dir,
    field_names,
    fields_seen,
    line_of_row,
    read_file,
)
from llm_embedder_data.rows.refusals import bad_rows, remedies, shape_of
from llm_embedder_data.rows.row_numbers import numbers_where
from llm_embedder_data.rows.sources import Format, Source

OnBadRow = Literal["raise", "skip"]
EvalMethod = Literal["retrieve", "rerank"]

TRAIN_FIELDS = tuple(column.name for column in schema.TRAIN_COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """The training rows of one task of one source; text stays in ``rows``, once.

    Attributes:
        name: of the dataset.
        task: of all its rows.
        files: in the order in which rows are counted.
        digests: of the files' content.
        rows: every row, memory-mapped, columns of ``schema.TRAIN_SCHEMA``.
        n_rows: of each file.
        kept: ``[n]`` int64, ascending, the numbers of the rows trained on.
        n_read: rows of this task in the files.
        dropped: how many rows went, by reason.
        settings: in force, after what the data cannot give has been taken out.
        n_scored: kept rows with teacher scores.
        n_without_negatives: kept rows without a hard negative.
        most_negatives: hard negatives of the kept row that has the most.
        task_description: of this source, for the prompt of an instruct model; None for the
            recipe's.
        batch_size: queries per rank and step; None for the module's.
        weight: passes per epoch.
        in_batch_negatives: whether other queries' keys are negatives.
        notes: sentences for the report and the log.
    """

    name: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    settings: TrainSettings
    n_scored: int
    n_without_negatives: int
    most_negatives: int
    batch_size: int | None = None
    weight: float = 1.0
    in_batch_negatives: bool = True
    task_description: str | None = None
    notes: tuple[str, ...] = ()

    def group_size(self, wanted: int) -> int:
        """Keys per query: ``wanted``, or fewer where no row has so many different ones."""
        return min(wanted, 1 + self.most_negatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The eval queries of one task of one source.

    Attributes:
        source: name of the source, which is the set's own where its rows are of one task.
        n_rows: of each file.
        format: of the files.
        rows: memory-mapped, columns of ``schema.RETRIEVE_SCHEMA`` or ``schema.RERANK_SCHEMA``.
        kept: ``[n]`` int64, ascending, the numbers of the rows used.
        task_description: of this source, for the prompt of an instruct model; None for the
            recipe's.
    """

    name: str
    source: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    format: Format
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    task_description: str | None = None
    notes: tuple[str, ...] = ()

    def error(self, row: int, sentence: str) -> DataError:
        """An error at a row of the set, as a row of the file that holds it."""
        return _error_at(self.files, self.n_rows, self.format, row, sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The passages that queries are matched against; a passage's index is its record's number.

    Attributes:
        template: a key's text, with the fields' names in braces.
        fields: of the template.
        rows: memory-mapped, one string column a field, named by its place among ``fields``.
        kept: ``[n]`` int64, ascending, the numbers of the rows used.
    """

    name: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    template: str
    fields: tuple[str, ...]
    rows: datasets.Dataset
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def text(self, row: int) -> str:
        """The key text of one row, without instruction."""
        return self.texts(np.array([row]))[0]

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """The key texts of rows, without instruction; a null field is empty, never "None"."""
        columns = self.rows[rows.tolist()]
        filled = parse_template(self.template).filled
        texts = []
        names = map(schema.corpus_column, range(len(self.fields)))
        for row in zip(*(columns[name] for name in names), strict=True):
            text = filled([value or "" for value in row])
            texts.append(text if all(row) else text.strip())
        return texts


@dataclass(slots=True)
class _Read:
    """A source's rows, and which of them are sound.

    Attributes:
        n_rows: of each file.
        sound: ``[n]`` bool.
        folder: of the caches.
    """

    source: Source
    rows: datasets.Dataset
    n_rows: tuple[int, ...]
    digests: tuple[str, ...]
    sound: NDArray[np.bool_]
    folder: Path
    notes: list[str] = field(default_factory=list)

    def bad_rows(self, among: NDArray[np.bool_] | slice = slice(None)) -> dict[str, int]:
        """How many rows were dropped because they are not sound, as ``dropped`` has it."""
        n_rows = int((~self.sound[among]).sum())
        return {"bad_row": n_rows} if n_rows else {}

    def error(self, row: int, sentence: str) -> DataError:
        """An error at a row of the source, as a row of the file that holds it."""
        return _error_at(self.source.files, self.n_rows, self.source.format, row, sentence)


def build_train_sets(
    source: Source,
    *,
    settings_of: Callable[[str], TrainSettings],
    recipe: Recipe,
    default_task: str,
    on_bad_row: OnBadRow = "raise",
    on_no_negatives: OnNoNegatives = "drop",
    seed: int = 42,
    cache_dir: Path | None = None,
) -> list[TrainSet]:
    """The training sets of a source: one, or one a task where its rows name several.

    Args:
        source: where the rows are.
        settings_of: the settings of a task, a function of its name.
        recipe: which tasks there are.
        default_task: of rows that name none, where the source names none either.
        on_bad_row: raise, or skip and count, a row that breaks a rule of ``schema``.
        on_no_negatives: drop a row that has no hard negative, or keep it with other queries' keys
            only.
        seed: of the sample that ``max_sample_num`` takes.
        cache_dir: see :func:`~llm_embedder_data.rows.readers.read_file`.

    Raises:
        DataError: a bad row, an unknown task, a setting asked for that needs scores which rows
            lack, or nothing left.
    """
    reading = Reading(
        "train",
        schema.TRAIN_SCHEMA,
        schema.train_batch,
        schema.TRAIN_COLUMNS,
        _renames(source, TRAIN_FIELDS),
    )
    read = _read(source, reading, on_bad_row, cache_dir)
    sets = []
    for name, task, chosen in _by_task(read, recipe, default_task):
        wanted = _positive_strategy(settings_of(task), read, chosen)
        settings, notes = _within_reach(wanted, read, name, task, chosen)
        made = _train_set(
            read,
            name,
            task,
            chosen,
            settings,
            [*read.notes, *notes],
            on_bad_row=on_bad_row,
            on_no_negatives=on_no_negatives,
            seed=seed,
        )
        require_rows(made)
        sets.append(made)
    return sets


def build_eval_sets(
    source: Source,
    *,
    eval_method: EvalMethod,
    recipe: Recipe,
    default_task: str,
    on_bad_row: OnBadRow = "raise",
    cache_dir: Path | None = None,
) -> list[EvalSet]:
    """The eval sets of a source: one, or one a task where its rows name several.

    Raises:
        DataError: a bad row, or an unknown task.
    """
    retrieve = eval_method == "retrieve"
    reading = Reading(
        eval_method,
        schema.RETRIEVE_SCHEMA if retrieve else schema.RERANK_SCHEMA,
        schema.retrieve_batch if retrieve else schema.rerank_batch,
        schema.RETRIEVE_COLUMNS if retrieve else schema.RERANK_COLUMNS,
        _renames(source, eval_fields(eval_method)),
    )
    read = _read(source, reading, on_bad_row, cache_dir)
    sets = []
    for name, task, chosen in _by_task(read, recipe, default_task):
        made = EvalSet(
            name=name,
            source=source.name,
            task=task,
            files=source.files,
            digests=read.digests,
            rows=read.rows,
            n_rows=read.n_rows,
            format=source.format,
            kept=numbers_where(chosen & read.sound, read.folder),
            n_read=int(chosen.sum()),
            dropped=read.bad_rows(chosen),
            task_description=source.task_description,
            notes=tuple(read.notes),
        )
        require_rows(made)
        sets.append(made)
    return sets


def build_corpus(
    source: Source,
    *,
    key_template: str = DEFAULT_KEY_TEMPLATE,
    on_bad_row: OnBadRow = "raise",
    cache_dir: Path | None = None,
) -> Corpus:
    """The corpus of a source.

    A field of the template that no record has is an error, but for the default template: without
    titles it gives the text alone, which is said in the report.

    Raises:
        ConfigError: a template with anything but plain field names.
        DataError: a bad row, or a field of the template that no record has.
    """
    template, key = key_template, "data.key_template"
    if source.key_template is not None:
        template, key = source.key_template, f"data.corpus.{one_line(source.name)}.key_template"
    fields = parse_template(template, key).fields
    columns = read_from(fields, source.fields, f"source {source.name!r}")
    reading = Reading(
        f"corpus of {len(fields)} fields",
        schema.corpus_schema(len(fields)),
        schema.corpus_batch,
        schema.corpus_columns(len(fields)),
        tuple((schema.corpus_column(i), columns[name]) for i, name in enumerate(fields)),
    )
    read = _read(source, reading, on_bad_row, cache_dir)
    missing = [
        name
        for i, name in enumerate(fields)
        if read.rows.data.column(schema.corpus_column(i)).null_count == len(read.rows)
    ]
    if missing and read.sound.any():
        there = sorted(field_names(source.files[0], source.format))
        near = "".join(did_you_mean(columns[name], there) for name in missing)
        if template != DEFAULT_KEY_TEMPLATE or missing == list(fields) or near:
            raise DataError.at(
                ", ".join(source.files),
                f"no record has the field {', '.join(repr(columns[name]) for name in missing)} of "
                f"key_template={template!r}; there are {', '.join(map(one_line, there))}{near} "
                "(mend data.key_template, or name one for this source)",
            )
        lacking = ", ".join(columns[name] for name in missing)
        left = " and ".join(columns[name] for name in fields if name not in missing)
        read.notes.append(f"no record has a {lacking}: the key text is the {left} alone")
    corpus = Corpus(
        name=source.name,
        files=source.files,
        digests=read.digests,
        template=template,
        fields=fields,
        rows=read.rows,
        kept=numbers_where(read.sound, read.folder),
        n_read=len(read.rows),
        dropped=read.bad_rows(),
        notes=tuple(read.notes),
    )
    require_rows(corpus)
    return corpus


def template_fields(template: Any) -> tuple[str, ...]:
    """The field names of a key template, in order, each once.

    Raises:
        ConfigError: see :func:`~llm_embedder_data.rows.key_templates.parse_template`.
    """
    return parse_template(template).fields


def eval_fields(eval_method: EvalMethod) -> tuple[str, ...]:
    """The fields of an eval row that a source may rename."""
    columns = schema.RERANK_COLUMNS if eval_method == "rerank" else schema.RETRIEVE_COLUMNS
    return tuple(column.name for column in columns)


def require_rows(made: TrainSet | EvalSet | Corpus) -> None:
    """Refuse a dataset that has no row left, with what its rows were dropped for."""
    if len(made.kept):
        return
    dropped = ", ".join(f"{n_rows} for {reason}" for reason, n_rows in made.dropped.items())
    notes = "".join(f"\n{note}" for note in made.notes) if "bad_row" in made.dropped else ""
    raise DataError.at(
        ", ".join(made.files),
        f"none of the {made.n_read} rows of dataset {made.name!r} is left: dropped {dropped} "
        f"({remedies(made.dropped)}){notes}",
    )


# --------------------------------------------------------------------------------------------------


def _renames(source: Source, fields: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What fields are called in the files of a source, where they are called otherwise."""
    read_from(fields, source.fields, f"source {source.name!r}")
    return tuple(sorted(source.fields.items()))


def _error_at(
    files: Sequence[str], n_rows: Sequence[int], format: Format, row: int, sentence: str
) -> DataError:
    """An error at a row of some files, as a row of the one that holds it."""
    for file, n_own in zip(files, n_rows, strict=True):
        if row < n_own:
            return DataError.at(file, sentence, row=row, line=line_of_row(file, row, format))
        row -= n_own
    raise AssertionError("a row beyond the last")


def _read(source: Source, reading: Reading, on_bad_row: OnBadRow, cache_dir: Path | None) -> _Read:
    """The rows of a source.

    Raises:
        DataError: all bad rows, the first ten faults in full, where they are not to be skipped, or
            are all there are; a file of another shape; ids in place of candidates' texts.
    """
    parts = [
        read_file(file, reading, format=source.format, cache_dir=cache_dir) for file in source.files
    ]
    rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    fault = rows.data.column("fault")
    read = _Read(
        source,
        rows,
        n_rows=tuple(map(len, parts)),
        digests=tuple(content_digest(file, cache_dir) for file in source.files),
        sound=pc.is_null(fault).to_numpy(),
        folder=cache_dir or default_cache_dir(),
    )
    columns = renamed(reading.columns, dict(reading.fields))
    found = [fields_seen(part) for part in parts]
    for names in dict.fromkeys(map(tuple, found)):
        if note := not_read(columns, names):
            read.notes.append(note)
    bad = np.flatnonzero(~read.sound)
    if len(bad) and (on_bad_row == "raise" or len(bad) == len(rows)):
        raise _refusal(read, bad, reading.kind, columns, found, on_bad_row)
    if len(bad):
        first = read.error(int(bad[0]), str(fault[int(bad[0])]))
        read.notes.append(f"{len(bad)} bad rows were skipped, the first: {first}")
    if "key" in rows.column_names and (what := ids_for_texts(rows.data.column("key"), read.sound)):
        raise DataError.at(", ".join(source.files), what)
    return read


def _refusal(
    read: _Read,
    bad: NDArray[np.int64],
    kind: str,
    columns: Sequence[Column],
    found: Sequence[Sequence[str]],
    on_bad_row: OnBadRow,
) -> DataError:
    """The error for bad rows: that a file has another shape, or what is wrong with each."""
    error, start = None, 0
    for file, n_rows, names in zip(read.source.files, read.n_rows, found, strict=True):
        if error is None and not read.sound[start : start + n_rows].any():
            error = shape_of(file, kind, columns, names)
        start += n_rows
    if error is None:
        error = bad_rows(read.rows.data.column("fault"), bad, read.error)
        if on_bad_row == "raise":
            error = _with(error, f"{error}\n(data.on_bad_row=skip skips and counts bad rows)")
    if on_bad_row == "skip":
        error = _with(
            error,
            f"none of the {len(bad)} rows of dataset {read.source.name!r} is left: dropped "
            f"{len(bad)} for bad_row (mend them, or leave the source out):\n{error}",
        )
    return error


def _with(error: DataError, sentence: str) -> DataError:
    """The same error in other words."""
    other = DataError(sentence)
    other.path, other.row = error.path, error.row
    return other


def _by_task(
    read: _Read, recipe: Recipe, default_task: str
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """(dataset name, task, which rows) for each task of the source.

    Raises:
        DataError: a task that the recipe does not know, or rows of several tasks some of which name
            none.
    """
    source = read.source
    fallback = source.task or default_task
    first: dict[str, int] = {}  # row of each task that is named
    first_unnamed, n_unnamed = -1, 0
    for rows, own in _own_tasks(read):
        for name in own.unique().drop_null().to_pylist():
            if name not in first:
                first[name] = rows.start + pc.index(own, name).as_py()
        unnamed = np.flatnonzero(own.is_null().to_numpy(zero_copy_only=False) & read.sound[rows])
        if len(unnamed) and not n_unnamed:
            first_unnamed = rows.start + int(unnamed[0])
        n_unnamed += len(unnamed)
    if n_unnamed and source.task is None:
        if set(first) - {fallback}:
            raise read.error(
                first_unnamed,
                "no task, while other rows of the source name "
                f"{', '.join(map(repr, sorted(first)))} (name a task in every row, or give the "
                "source a task)",
            )
        read.notes.append(
            f"{n_unnamed} rows name no task: taken as {fallback!r} (data.default_task)"
        )
    if n_unnamed or not first:
        first[fallback] = min(first.get(fallback, len(read.sound)), max(first_unnamed, 0))
    tasks = sorted(first)
    for task in tasks:
        if not recipe.knows(task):
            raise read.error(first[task], recipe.unknown_task(task))
    if len(tasks) == 1:
        yield source.name, tasks[0], np.ones(len(read.sound), bool)
        return
    for task in tasks:
        chosen = np.zeros(len(read.sound), bool)
        for rows, own in _own_tasks(read):
            named = pc.equal(own.fill_null(fallback), task).to_numpy(zero_copy_only=False)
            # An unsound row is counted with the first task.
            chosen[rows] = np.where(read.sound[rows], named, task == tasks[0])
        yield f"{source.name}:{task}", task, chosen


def _own_tasks(read: _Read) -> Iterator[tuple[slice, pa.StringArray]]:
    """The tasks that rows name, some thousand rows at a time; what an unsound row says is null."""
    end = 0
    for task in read.rows.data.column("task").chunks:
        start, end = end, end + len(task)
        rows = slice(start, end)
        yield rows, pc.if_else(pa.array(read.sound[rows]), task, None)


def _train_set(
    read: _Read,
    name: str,
    task: str,
    chosen: NDArray[np.bool_],
    settings: TrainSettings,
    notes: Sequence[str],
    *,
    on_bad_row: OnBadRow,
    on_no_negatives: OnNoNegatives,
    seed: int,
) -> TrainSet:
    """The training set of one task's rows, every row kept or counted under the reason it is not."""
    reasons = np.empty(len(chosen), np.uint8)
    first_without, n_without = -1, 0
    for rows, facts in statistics_by_block(read.rows.data.table):
        reasons[rows] = drop_reasons(facts, read.sound[rows], settings, on_no_negatives)
        without = np.flatnonzero(chosen[rows] & read.sound[rows] & facts.without_positive(settings))
        if len(without) and not n_without:
            first_without = rows.start + int(without[0])
        n_without += len(without)
    if n_without and on_bad_row == "raise":
        raise read.error(
            first_without,
            f"no positive, which select_positive={settings.select_positive!r} of task {task!r} "
            f"needs; so in {n_without} rows (give the row a pos; or teacher_scores and "
            "select_positive=teacher; or skip such rows with data.on_bad_row=skip)",
        )
    limit = read.source.max_sample_num or settings.max_sample_num
    if limit is not None:
        numbers = np.flatnonzero(chosen)
        own = reasons[numbers]
        sample(own, numbers, limit, stream_seed(seed, "max_sample_num", name))
        reasons[numbers] = own
    kept = chosen & (reasons == 0)
    n_scored = n_without_negatives = most_negatives = 0
    for rows, facts in statistics_by_block(read.rows.data.table):
        n_negatives = facts.negatives_left(settings)[kept[rows]]
        n_scored += int((facts.scored & kept[rows]).sum())
        n_without_negatives += int((n_negatives == 0).sum())
        most_negatives = max(most_negatives, int(n_negatives.max(initial=0)))
    return TrainSet(
        name=name,
        task=task,
        files=read.source.files,
        digests=read.digests,
        rows=read.rows,
        n_rows=read.n_rows,
        kept=numbers_where(kept, read.folder),
        n_read=int(chosen.sum()),
        dropped=count_reasons(reasons[chosen]),
        settings=settings,
        n_scored=n_scored,
        n_without_negatives=n_without_negatives,
        most_negatives=most_negatives,
        batch_size=read.source.batch_size,
        weight=read.source.weight,
        in_batch_negatives=read.source.in_batch_negatives,
        task_description=read.source.task_description,
        notes=tuple(notes),
    )


def _positive_strategy(
    settings: TrainSettings, read: _Read, chosen: NDArray[np.bool_]
) -> TrainSettings:
    """The settings with the plain name of the default strategy where all rows are of one kind."""
    if settings.select_positive != FIRST_ELSE_TEACHER:
        return settings
    n_rows = n_left_to_teacher = 0
    for place, facts in statistics_by_block(read.rows.data.table):
        rows = chosen[place] & read.sound[place]
        n_rows += int(rows.sum())
        n_left_to_teacher += int((rows & facts.left_to_teacher).sum())
    if n_left_to_teacher == 0:
        return replace(settings, select_positive="first")
    return replace(settings, select_positive="teacher") if n_left_to_teacher == n_rows else settings


def _within_reach(
    wanted: TrainSettings, read: _Read, name: str, task: str, chosen: NDArray[np.bool_]
) -> tuple[TrainSettings, list[str]]:
    """The settings that the data allows, and what to say of it.

    Raises:
        DataError: rows without the scores that a setting asked for needs; another one gives way.
    """
    needing = wanted.needing_scores()
    if not needing:
        return wanted, []
    first_unscored, n_unscored, n_rows = -1, 0, 0
    for place, facts in statistics_by_block(read.rows.data.table):
        rows = chosen[place] & read.sound[place]
        unscored = np.flatnonzero(rows & ~facts.scored)
        if len(unscored) and not n_unscored:
            first_unscored = place.start + int(unscored[0])
        n_unscored, n_rows = n_unscored + len(unscored), n_rows + int(rows.sum())
    if not n_unscored:
        return wanted, []
    asked = [f"{key}={value!r}" for key, value in needing.items() if key in wanted.asked]
    if asked:
        raise read.error(
            first_unscored,
            f"no teacher_scores, which {', '.join(asked)} needs for task {task!r}; {n_unscored} of "
            f"{n_rows} rows have none (score the rows, or take the setting back)",
        )
    if n_unscored < n_rows:
        return wanted, [
            f"{n_unscored} of {n_rows} rows have no teacher_scores: they take the first positive "
            "and random negatives, and the contrastive loss alone"
        ]
    given_up = ", ".join(f"{key}={value!r}" for key, value in needing.items())
    defaults: dict[str, Any] = {key: getattr(TrainSettings(), key) for key in needing}
    return replace(wanted, **defaults), [
        f"dataset {name!r} has no teacher_scores: the recipe's {given_up} for task {task!r} gives "
        "way, and it is trained with the contrastive loss alone"
    ]
