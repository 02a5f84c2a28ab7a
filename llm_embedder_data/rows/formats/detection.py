"""Which format a file or folder has: by its content, or by ``format:`` if two formats fit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from llm_embedder_data.core.errors import ConfigError, DataError, did_you_mean
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.faults.known_columns import naming_hint
from llm_embedder_data.rows.formats.arctic import ARCTIC
from llm_embedder_data.rows.formats.arrays import ARRAYS, SETS
from llm_embedder_data.rows.formats.beir import BEIR, FLAGEMBEDDING_EVAL
from llm_embedder_data.rows.formats.colbert import COLBERT
from llm_embedder_data.rows.formats.columns import COHERE, COLUMNS
from llm_embedder_data.rows.formats.contrastors import CONTRASTORS
from llm_embedder_data.rows.formats.dpr import DPR
from llm_embedder_data.rows.formats.flagembedding import FLAGEMBEDDING
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.gpl_margins import GPL_MARGINS
from llm_embedder_data.rows.formats.gritlm import GRITLM, MEDI
from llm_embedder_data.rows.formats.hard_negatives import HARD_NEGATIVES
from llm_embedder_data.rows.formats.id_text import ID_TEXT, holds_texts
from llm_embedder_data.rows.formats.kalm import KALM
from llm_embedder_data.rows.formats.kd_ids import KD_IDS
from llm_embedder_data.rows.formats.labeled_list import LABELED_LIST
from llm_embedder_data.rows.formats.labeled_pairs import LABELED_PAIRS
from llm_embedder_data.rows.formats.llamaindex import LLAMAINDEX
from llm_embedder_data.rows.formats.llm_embedder import LLM_EMBEDDER
from llm_embedder_data.rows.formats.ms_swift import MS_SWIFT
from llm_embedder_data.rows.formats.msmarco import (
    MSMARCO_DOCUMENTS,
    MSMARCO_ID_TRIPLES,
    MSMARCO_TRIPLES,
    TOP1000,
)
from llm_embedder_data.rows.formats.mteb import MTEB
from llm_embedder_data.rows.formats.nemo import NEMO
from llm_embedder_data.rows.formats.question_answering import HOTPOTQA, MUSIQUE, SQUAD
from llm_embedder_data.rows.formats.ranx import RANX_QRELS, RANX_RUN
from llm_embedder_data.rows.formats.refusals import REFUSED
from llm_embedder_data.rows.formats.run_jsonl import RUN_JSONL
from llm_embedder_data.rows.formats.simlm import SIMLM
from llm_embedder_data.rows.formats.tevatron import LIGHTRETRIEVER, TEVATRON
from llm_embedder_data.rows.formats.tevatron_ids import TEVATRON_IDS
from llm_embedder_data.rows.formats.toolbench import TOOLBENCH
from llm_embedder_data.rows.formats.trec import (
    TREC_QRELS,
    TREC_RUN,
    may_be_qrels_or_run,
)
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Kind

# The first format that recognizes a file wins. So formats with distinctive column names come first,
# then those known by the shapes of query and pos, by common names, and by the number of cells.
FORMATS: tuple[Format, ...] = (
    *REFUSED,
    LIGHTRETRIEVER,
    TEVATRON_IDS,
    TEVATRON,
    DPR,
    NEMO,
    MS_SWIFT,
    TOOLBENCH,
    LLAMAINDEX,
    HOTPOTQA,
    MUSIQUE,
    SQUAD,
    SIMLM,
    KD_IDS,
    HARD_NEGATIVES,
    SETS,
    RUN_JSONL,
    COHERE,
    GRITLM,
    MEDI,
    KALM,
    LABELED_PAIRS,
    FLAGEMBEDDING,
    LLM_EMBEDDER,
    LABELED_LIST,
    CONTRASTORS,
    COLUMNS,
    COLBERT,
    ARRAYS,
    ARCTIC,
    RANX_RUN,
    RANX_QRELS,
    TREC_QRELS,
    GPL_MARGINS,
    MSMARCO_DOCUMENTS,
    TOP1000,
    TREC_RUN,
    MSMARCO_ID_TRIPLES,
    MSMARCO_TRIPLES,
    ID_TEXT,
    FLAGEMBEDDING_EVAL,
    BEIR,
    MTEB,
)
BY_NAME: Mapping[str, Format] = {found.name: found for found in FORMATS if found.refusal is None}


def named(name: str) -> Format:
    """Return the format that ``format:`` names.

    Raises:
        ConfigError: no format has the name; the message names all formats and the nearest.
    """
    if name not in BY_NAME:
        near = get_close_matches(name, BY_NAME, n=1, cutoff=0)
        hint = did_you_mean(name, BY_NAME) or f"; the nearest is {near[0]!r}"
        raise ConfigError(f"format={name!r}: expected one of {', '.join(sorted(BY_NAME))}{hint}")
    return BY_NAME[name]


def format_of_folder(folder: Path) -> Format | None:
    """Return the format of a folder that is one dataset; None for a folder of files of rows."""
    return next((found for found in FORMATS if found.recognizes_folder(folder)), None)


def format_of_file(file: RawFile, kind: Kind) -> Format:
    """Return the format of a file, by its first records.

    Args:
        file: the file.
        kind: the kind of rows to read from it.

    Raises:
        DataError: the file is empty; its format is refused, unknown, or has no rows of the kind; or
            two formats fit, and the user has to name one.
    """
    if not file.head:
        raise DataError.at(file.path, "the file holds no row (fill it, or leave it out)")
    fitting = [found for found in FORMATS if found.recognizes(file)]
    for found in fitting:
        if found.refusal is not None:
            raise DataError.at(file.path, found.refusal)
    if kind == "corpus" and holds_texts(file):
        fitting.append(ID_TEXT)
    usable = [found for found in fitting if found.reader(kind) is not None]
    if not fitting:
        raise DataError.at(
            file.path,
            f"{_shape(file)}, which is no known format of {kind} rows{_wanted(file, kind)}",
        )
    _ask_where_two_fit((usable or fitting)[0], file, kind)
    if not usable:
        raise no_such_rows(file.path, fitting[0], kind)
    return usable[0]


def no_such_rows(path: str, found: Format, kind: Kind) -> DataError:
    """Return the error for a file or folder whose format has no rows of a kind."""
    kinds = [other for other in get_args(Kind) if found.reader(other) is not None]
    return DataError.at(
        path,
        f"it holds {found.what}, from which no {kind} rows can be read, only {' and '.join(kinds)} "
        f"rows (give it as these, or another file)",
    )


def check_named(chosen: Format, files: Sequence[RawFile]) -> None:
    """Refuse a format that the user named, for files that gave no row and do not look like it.

    A format that the user names is used whatever the files look like. If it is the wrong one, each
    record just counts as a row without a positive, which would not tell the user what is wrong.

    Raises:
        DataError: no file looks like the format; the message says what the first file holds.
    """
    if not files or any(chosen.recognizes(file) for file in files):
        return
    raise DataError.at(
        files[0].path,
        f"format={chosen.name!r}: the file does not hold {chosen.what}; {_shape(files[0])} (leave "
        "format out, or name the right format)",
    )


def _ask_where_two_fit(chosen: Format, file: RawFile, kind: Kind) -> None:
    """Refuse a file that two formats fit, or whose first line may be a header.

    Raises:
        DataError: says what the file may be, and which formats to choose from.
    """
    if chosen is RANX_QRELS and kind == "train":
        raise DataError.at(
            file.path,
            "its scores are all whole numbers, so it may be judgments or a run (give format: "
            "ranx_qrels or ranx_run)",
        )
    if kind == "train" and may_be_qrels_or_run(file):
        raise DataError.at(
            file.path,
            "its third cell is always 1, so it may hold judgments or a run of one document for "
            "each query (give format: trec_qrels or trec_run)",
        )
    if chosen is MSMARCO_TRIPLES and _may_have_header(file):
        first = ", ".join(map(shown, file.head[0]))
        raise DataError.at(
            file.path,
            f"its first line, {first}, may name columns (say which: {{path: ..., query: COLUMN, "
            "pos: COLUMN}, or give format: msmarco_triples if it is a row)",
        )
    if chosen is ID_TEXT and kind == "train":
        found = "it holds ids and texts, a corpus or queries, and no training rows"
        if file.container == "cells" and file.header is None:
            first = ", ".join(shown(cell) for cell in file.head[0])
            found += (
                f" (if its first line, {first}, names columns, say which: "
                "{path: ..., query: COLUMN, pos: COLUMN})"
            )
        raise DataError.at(file.path, found)


def _may_have_header(file: RawFile) -> bool:
    """Return whether each cell of the first line is one word, and no later line is like that."""
    one_word_each = [
        isinstance(row, list) and all(cell.isidentifier() for cell in row) for row in file.head
    ]
    return len(one_word_each) > 1 and one_word_each[0] and not any(one_word_each[1:])


# What native rows need, by kind, and the fields for which a message suggests columns of the file.
_NATIVE_ROWS: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "train": ("a training row needs query, and pos or history or neg", ("query", "pos", "neg")),
    "eval": ("a row of eval queries needs query, and pos_index or judgments", ("query",)),
    "corpus": ("a passage needs text", ("text",)),
}


def _wanted(file: RawFile, kind: Kind) -> str:
    """Return what a file's columns lack to be native rows; "" for a file without columns."""
    if not file.fields:
        return ""
    needed, fields = _NATIVE_ROWS[kind]
    return f": {needed} ({naming_hint(list(file.fields), fields)})"


def _shape(file: RawFile) -> str:
    if file.fields:
        return f"its columns are {', '.join(name[:40] for name in list(file.fields)[:20])}"
    if not file.head:
        return "it holds no record"
    if file.container in ("cells", "fields"):
        counts = Counter(len(row) for row in file.head)
        if set(counts) == {1}:
            return f"its lines are single cells, such as {shown(file.head[0][0])}"
        found = " or ".join(str(count) for count, _ in counts.most_common(3))
        return f"its lines have {found} cells ({file.dialect})"
    return f"its records are such as {shown(file.head[0])}"
