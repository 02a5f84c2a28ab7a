"""The train, eval and corpus builders: which rows of a source are used, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.config import ConfigError, did_you_mean
from llm_embedder_data.hashing import derive_key, hash_rows
from llm_embedder_data.recipes import NegativeStrategy, PositiveStrategy, Recipe
from llm_embedder_data.rows import schema
from llm_embedder_data.rows.readers import (
    Reading,
    content_digest,
    first_record,
    line_of_row,
    read_file,
)
from llm_embedder_data.rows.schema import DataError
from llm_embedder_data.rows.sources import Source

OnBadRow = Literal["raise", "skip"]
OnNoNegatives = Literal["drop", "keep"]
EvalMethod = Literal["retrieve", "rerank"]

DEFAULT_KEY_TEMPLATE = "{title} {text}"

TRAIN_FIELDS = (*(column.name for column in schema.TRAIN_COLUMNS), schema.QUERY_ID)
EVAL_FIELDS = (*(column.name for column in schema.RERANK_COLUMNS), schema.QUERY_ID)

_TEACHER_POSITIVES = ("teacher", "teacher-pos")
_TEACHER_NEGATIVES = ("teacher+", "teacher-")
_FAULTS_IN_FULL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How the rows of a task are filtered and their keys chosen.

    Attributes:
        asked: names of the settings that the user gave; the others are a recipe's or defaults. Where
            data has no teacher scores, an asked setting that needs them is an error, another gives way.
    """

    select_positive: PositiveStrategy = "first"
    select_negative: NegativeStrategy = "random"
    teacher_scores_min: float | None = None
    teacher_scores_margin: float | None = None
    max_sample_num: int | None = None
    stable_distill: bool = False
    asked: frozenset[str] = frozenset()

    def needing_scores(self) -> dict[str, Any]:
        """The settings in force that mean nothing without teacher scores."""
        needing: dict[str, Any] = {}
        if self.select_positive in _TEACHER_POSITIVES:
            needing["select_positive"] = self.select_positive
        if self.select_negative in _TEACHER_NEGATIVES:
            needing["select_negative"] = self.select_negative
        if self.stable_distill:
            needing["stable_distill"] = True
        return needing


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """The training rows of one task of one source; text stays in ``rows``, once.

    Attributes:
        name: of the dataset.
        task: of all its rows.
        files: in the order in which rows are counted.
        digests: of the files' content.
        rows: every row, memory-mapped, columns of ``schema.TRAIN_SCHEMA``.
        kept: ``[n]`` int64, ascending, the numbers of the rows trained on.
        n_read: rows of this task in the files.
        dropped: how many rows went, by reason.
        settings: in force, after what the data cannot give has been taken out.
        n_scored: kept rows with teacher scores.
        n_without_negatives: kept rows without a hard negative.
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
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    settings: TrainSettings
    n_scored: int
    n_without_negatives: int
    batch_size: int | None = None
    weight: float = 1.0
    in_batch_negatives: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The eval queries of one task of one source.

    Attributes:
        rows: memory-mapped, columns of ``schema.RETRIEVE_SCHEMA`` or ``schema.RERANK_SCHEMA``.
        kept: ``[n]`` int64, ascending, the numbers of the rows used.
    """

    name: str
    task: str
    files: tuple[str, ...]
    digests: tuple[str, ...]
    rows: datasets.Dataset
    kept: NDArray[np.int64]
    n_read: int
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The passages that queries are matched against; a passage's index is its record's number.

    Attributes:
        template: a key's text, with the fields' names in braces.
        fields: of the template.
        rows: memory-mapped, one string column a field.
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
        """The key texts of rows, without instruction; a null field is empty, never the word None."""
        columns = self.rows[rows.tolist()]
        return [
            self.template.format(
                **{name: text or "" for name, text in zip(self.fields, row, strict=True)}
            )
            if all(row)
            else self.template.format(
                **{name: text or "" for name, text in zip(self.fields, row, strict=True)}
            ).strip()
            for row in zip(*(columns[name] for name in self.fields), strict=True)
        ]


@dataclass(slots=True)
class _Read:
    """A source's rows and the ones among them that are sound."""

    rows: datasets.Dataset
    digests: tuple[str, ...]
    sound: NDArray[np.bool_]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def build_train_sets(
    source: Source,
    *,
    settings_of: Any,
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
        settings_of: the :class:`TrainSettings` of a task, a function of its name.
        recipe: which tasks there are.
        default_task: of rows that name none, where the source names none either.
        on_bad_row: raise, or skip and count, a row that breaks a rule of ``schema``.
        on_no_negatives: drop a row that has no hard negative, or keep it with other queries' keys only.
        seed: of the sample that ``max_sample_num`` takes.
        cache_dir: see :func:`~llm_embedder_data.rows.readers.read_file`.

    Raises:
        DataError: a bad row, an unknown task, a setting asked for that needs scores which rows lack, or
            nothing left.
    """
    reading = Reading("train", schema.TRAIN_SCHEMA, schema.train_batch, _renames(source))
    read = _read(source, reading, on_bad_row, cache_dir)
    column = partial(_numbers, read.rows)
    n_pos, n_neg, n_neg_teacher = column("n_pos"), column("n_neg"), column("n_neg_teacher")
    highest, lowest = column("score_max"), column("score_min")
    scored = ~np.isnan(highest)

    sets = []
    for name, task, chosen in _by_task(source, read, recipe, default_task):
        wanted: TrainSettings = settings_of(task)
        settings, notes = _within_reach(wanted, source, name, task, chosen & read.sound, scored)
        reason = np.full(len(chosen), "", dtype=object)
        reason[~read.sound] = "bad_row"

        needs_pos = ~scored if settings.select_positive == "teacher" else np.ones(len(chosen), bool)
        no_positive = chosen & (reason == "") & needs_pos & (n_pos == 0)
        if no_positive.any() and on_bad_row == "raise":
            row = int(np.flatnonzero(no_positive)[0])
            raise _error_at(
                source,
                row,
                f"no positive, which select_positive={settings.select_positive!r} of task {task!r} needs "
                "(give the row a pos; or teacher_scores and select_positive=teacher; or skip such rows "
                f"with data.on_bad_row=skip) [{int(no_positive.sum())} such rows]",
            )
        reason[no_positive] = "no_positive"

        left = (
            np.where(scored, n_neg_teacher, n_neg)
            if settings.select_positive == "teacher"
            else n_neg
        )
        without = (left == 0) & (reason == "")
        if on_no_negatives == "drop":
            reason[without] = "no_negatives"
        with np.errstate(invalid="ignore"):  # NaN, a row without scores, passes every filter
            if settings.teacher_scores_margin is not None:
                low = highest - lowest < settings.teacher_scores_margin
                reason[low & (reason == "")] = "teacher_scores_margin"
            if settings.teacher_scores_min is not None:
                low = highest < settings.teacher_scores_min
                reason[low & (reason == "")] = "teacher_scores_min"
        kept = np.flatnonzero(chosen & (reason == ""))
        limit = source.max_sample_num or settings.max_sample_num
        if limit is not None and len(kept) > limit:
            words = hash_rows(derive_key(seed, "max_sample_num", name), kept)
            out = kept[np.argsort(words, kind="stable")[limit:]]
            reason[out] = "max_sample_num"
            kept = np.flatnonzero(chosen & (reason == ""))
        reasons, counts = np.unique(reason[chosen].astype(str), return_counts=True)
        dropped = {str(r): int(n) for r, n in zip(reasons, counts, strict=True) if r}
        if len(kept) == 0:
            raise DataError.at(
                ", ".join(source.files),
                f"none of the {int(chosen.sum())} rows of dataset {name!r} (task {task!r}) is left: dropped "
                + ", ".join(f"{n} for {r}" for r, n in dropped.items())
                + " (loosen the setting of that name"
                + (
                    "; data.on_no_negatives=keep keeps rows without"
                    if "no_negatives" in dropped
                    else ""
                )
                + ", or leave the source out)",
            )
        sets.append(
            TrainSet(
                name=name,
                task=task,
                files=source.files,
                digests=read.digests,
                rows=read.rows,
                kept=kept,
                n_read=int(chosen.sum()),
                dropped=dropped,
                settings=settings,
                n_scored=int(scored[kept].sum()),
                n_without_negatives=int(without[kept].sum()),
                batch_size=source.batch_size,
                weight=source.weight,
                in_batch_negatives=source.in_batch_negatives,
                notes=(*read.notes, *notes),
            )
        )
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
    reading = (
        Reading("retrieve", schema.RETRIEVE_SCHEMA, schema.retrieve_batch, _renames(source))
        if eval_method == "retrieve"
        else Reading("rerank", schema.RERANK_SCHEMA, schema.rerank_batch, _renames(source))
    )
    read = _read(source, reading, on_bad_row, cache_dir)
    return [
        EvalSet(
            name=name,
            task=task,
            files=source.files,
            digests=read.digests,
            rows=read.rows,
            kept=np.flatnonzero(chosen & read.sound),
            n_read=int(chosen.sum()),
            dropped={"bad_row": int((chosen & ~read.sound).sum())} if not read.sound.all() else {},
            notes=tuple(read.notes),
        )
        for name, task, chosen in _by_task(source, read, recipe, default_task)
    ]


def build_corpus(
    source: Source,
    *,
    key_template: str = DEFAULT_KEY_TEMPLATE,
    on_bad_row: OnBadRow = "raise",
    cache_dir: Path | None = None,
) -> Corpus:
    """The corpus of a source.

    A field of the template that no record has is an error, but for the default template: without titles
    it gives the text alone, which is said in the report.

    Raises:
        ConfigError: a template with anything but plain field names.
        DataError: a bad row, or a field of the template that no record has.
    """
    template = source.key_template or key_template
    fields = template_fields(template)
    reading = Reading(
        f"corpus {fields!r}",
        schema.corpus_schema(fields),
        partial(schema.corpus_batch, fields=fields),
        _renames(source),
    )
    read = _read(source, reading, on_bad_row, cache_dir)
    missing = [name for name in fields if read.rows.data.column(name).null_count == len(read.rows)]
    if missing:
        there = sorted(first_record(source.files[0], source.format))
        near = "".join(did_you_mean(name, there) for name in missing)
        if template != DEFAULT_KEY_TEMPLATE or missing == list(fields) or near:
            raise DataError.at(
                ", ".join(source.files),
                f"no record has the field {', '.join(map(repr, missing))} of key_template={template!r}; "
                f"there are {', '.join(there)}{near} (mend data.key_template, or name one for this source)",
            )
        read.notes.append(f"no record has a {', '.join(missing)}: the key text is the text alone")
    return Corpus(
        name=source.name,
        files=source.files,
        digests=read.digests,
        template=template,
        fields=fields,
        rows=read.rows,
        kept=np.flatnonzero(read.sound),
        n_read=len(read.rows),
        dropped=read.dropped,
        notes=tuple(read.notes),
    )


def template_fields(template: str) -> tuple[str, ...]:
    """The field names of a key template, in order, each once.

    Raises:
        ConfigError: no field, or a format expression such as ``{a.b}``, ``{a[0]}``, ``{a!r}``, ``{a:>9}``.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"data.key_template={template!r}: {error} (write fields as {{name}})"
        ) from error
    names = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ConfigError(
                f"data.key_template={template!r}: expected plain field names such as {{title}}, without "
                "attribute, index, conversion or format"
            )
        names.append(name)
    if not names:
        raise ConfigError(
            f"data.key_template={template!r}: expected at least one field such as {{text}}"
        )
    return tuple(dict.fromkeys(names))


# ---------------------------------------------------------------------------------------------------


def _renames(source: Source) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(source.fields.items()))


def _read(source: Source, reading: Reading, on_bad_row: OnBadRow, cache_dir: Path | None) -> _Read:
    parts = [
        read_file(file, reading, format=source.format, cache_dir=cache_dir) for file in source.files
    ]
    rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    fault = rows.data.column("fault")
    sound = np.ones(len(rows), bool)
    dropped = {}
    if fault.null_count < len(rows):
        sound = pc.is_null(fault).to_numpy()
        bad = np.flatnonzero(~sound)
        if on_bad_row == "raise":
            raise _faults_error(source, bad, fault)
        dropped = {"bad_row": len(bad)}
    digests = tuple(content_digest(file, cache_dir) for file in source.files)
    read = _Read(rows, digests, sound, dropped)
    if dropped:
        first = _error_at(source, int(bad[0]), str(fault[int(bad[0])]))
        read.notes.append(f"{len(bad)} bad rows were skipped, the first: {first}")
    return read


def _faults_error(source: Source, bad: NDArray[np.int64], fault: pa.ChunkedArray) -> DataError:
    errors = [_error_at(source, int(row), str(fault[int(row)])) for row in bad[:_FAULTS_IN_FULL]]
    sentence = "\n".join(str(error) for error in errors)
    if len(bad) > len(errors):
        sentence += f"\n... and {len(bad) - len(errors)} more bad rows"
    error = DataError(f"{sentence}\n(data.on_bad_row=skip skips and counts bad rows)")
    error.path, error.row = errors[0].path, errors[0].row
    return error


def _error_at(source: Source, row: int, sentence: str) -> DataError:
    """An error at a row of a source, as a row of the file that holds it."""
    for file in source.files:
        n_rows = _n_records(file, source) if len(source.files) > 1 else row + 1
        if row < n_rows:
            return DataError.at(file, sentence, row=row, line=line_of_row(file, row, source.format))
        row -= n_rows
    raise AssertionError("a row beyond the source's last")


def _n_records(file: str, source: Source) -> int:
    reading = Reading("count", schema.RETRIEVE_SCHEMA, schema.retrieve_batch, _renames(source))
    return len(read_file(file, reading, format=source.format))


def _numbers(rows: datasets.Dataset, name: str) -> NDArray[Any]:
    """A numeric column, null as NaN in a column of floats."""
    return rows.data.column(name).to_numpy()  # type: ignore[no-any-return]


def _by_task(
    source: Source, read: _Read, recipe: Recipe, default_task: str
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """(dataset name, task, which rows) for each task of the source.

    Raises:
        DataError: a task that the recipe does not know, or rows of several tasks some of which name none.
    """
    named = read.rows.data.column("task").combine_chunks().dictionary_encode()
    codes = named.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names: list[str] = named.dictionary.to_pylist()
    unnamed = (codes < 0) & read.sound
    fallback = source.task or default_task
    if unnamed.any():
        if source.task is None and set(names) - {fallback}:
            row = int(np.flatnonzero(unnamed)[0])
            raise _error_at(
                source,
                row,
                f"no task, while other rows of the file name {', '.join(map(repr, sorted(names)))} (name "
                "a task in every row, or give the source a task)",
            )
        if source.task is None:
            read.notes.append(
                f"{int(unnamed.sum())} rows name no task: taken as {fallback!r} (data.default_task)"
            )
    task_of_code = [*names, fallback]  # -1 is the last
    tasks = sorted({task_of_code[code] for code in np.unique(codes[read.sound])})
    for task in tasks:
        if not recipe.knows(task):
            row = (
                int(np.flatnonzero(read.sound & (codes == task_of_code.index(task)))[0])
                if task in names
                else 0
            )
            raise _error_at(source, row, recipe.unknown_task(task))
    if len(tasks) <= 1:
        return [(source.name, tasks[0] if tasks else fallback, np.ones(len(codes), bool))]
    of_task = np.array([tasks.index(t) if t in tasks else -1 for t in task_of_code])[codes]
    # An unsound row is counted with the first task: it has no say in where it belongs.
    of_task[~read.sound] = 0
    return [(f"{source.name}:{task}", task, of_task == i) for i, task in enumerate(tasks)]


def _within_reach(
    wanted: TrainSettings,
    source: Source,
    name: str,
    task: str,
    rows: NDArray[np.bool_],
    scored: NDArray[np.bool_],
) -> tuple[TrainSettings, list[str]]:
    """The settings that the data allows: without scores, what needs them is an error or gives way."""
    needing = wanted.needing_scores()
    unscored = rows & ~scored
    if not needing or not unscored.any():
        return wanted, []
    asked = [f"{key}={value!r}" for key, value in needing.items() if key in wanted.asked]
    if asked:
        raise _error_at(
            source,
            int(np.flatnonzero(unscored)[0]),
            f"no teacher_scores, which {', '.join(asked)} needs for task {task!r}; {int(unscored.sum())} of "
            f"{int(rows.sum())} rows have none (score the rows, or take the setting back)",
        )
    if unscored.sum() < rows.sum():
        return wanted, [
            f"{int(unscored.sum())} of {int(rows.sum())} rows have no teacher_scores: they take the first "
            "positive and random negatives, and the contrastive loss alone"
        ]
    given_up = ", ".join(f"{key}={value!r}" for key, value in needing.items())
    settings = TrainSettings(
        select_positive="first" if "select_positive" in needing else wanted.select_positive,
        select_negative="random" if "select_negative" in needing else wanted.select_negative,
        teacher_scores_min=wanted.teacher_scores_min,
        teacher_scores_margin=wanted.teacher_scores_margin,
        max_sample_num=wanted.max_sample_num,
        asked=wanted.asked,
    )
    return settings, [
        f"dataset {name!r} has no teacher_scores: the recipe's {given_up} for task {task!r} gives way, and "
        "it is trained with the contrastive loss alone"
    ]


def eval_fields(eval_method: EvalMethod) -> Sequence[str]:
    """The fields of an eval row that a source may rename."""
    return (
        EVAL_FIELDS if eval_method == "rerank" else ("query", "task", "pos_index", schema.QUERY_ID)
    )
