"""Which format a file or a folder has: known by content, or asked for where two fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from llm_embedder_data.core.errors import ConfigError, DataError, did_you_mean
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
from llm_embedder_data.rows.schema.canonical_rows import Kind, shown

# In the order in which they are asked: distinctive names, then the shape of query and pos, then
# common names, then counts of cells.
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
BY_NAME: Mapping[str, Format] = {one.name: one for one in FORMATS if one.refusal is None}


def named(name: str) -> Format:
    """The format that ``format:`` names.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in BY_NAME:
        near = get_close_matches(name, BY_NAME, n=1, cutoff=0)
        hint = did_you_mean(name, BY_NAME) or f"; the nearest is {near[0]!r}"
        raise ConfigError(f"format={name!r}: expected one of {', '.join(sorted(BY_NAME))}{hint}")
    return BY_NAME[name]


def format_of_folder(folder: Path) -> Format | None:
    """The format of a folder that is one data set; None for a folder of files of rows."""
    return next((one for one in FORMATS if one.recognizes_folder(folder)), None)


def format_of_file(file: RawFile, kind: Kind) -> Format:
    """The format of a file, by its first records.

    Raises:
        DataError: it is of a format that cannot be used, of none that is known, or of one that has
            no such rows.
    """
    if not file.head:
        raise DataError.at(file.path, "the file holds no row (fill it, or leave it out)")
    fitting = [one for one in FORMATS if one.recognizes(file)]
    for one in fitting:
        if one.refusal is not None:
            raise DataError.at(file.path, one.refusal)
    if kind == "corpus" and holds_texts(file):
        fitting.append(ID_TEXT)
    usable = [one for one in fitting if one.reader(kind) is not None]
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
    """The error of a file or folder whose format has no rows of a kind."""
    kinds = [other for other in get_args(Kind) if found.reader(other) is not None]
    return DataError.at(
        path,
        f"it holds {found.what}, from which no {kind} rows can be read, only {' and '.join(kinds)} "
        f"rows (give it as these, or another file)",
    )


def check_named(chosen: Format, files: Sequence[RawFile]) -> None:
    """Refuse a format that the user named, for files that gave no row and do not look like it.

    A named format wins over what files look like. But if no record has a field that it reads, each
    counts as a row without a positive, and nothing would say that the name is the fault.

    Raises:
        DataError: naming the format, and what the first file holds.
    """
    if not files or any(chosen.recognizes(file) for file in files):
        return
    raise DataError.at(
        files[0].path,
        f"format={chosen.name!r}: no record is one of {chosen.what}: {_shape(files[0])} (leave "
        "format out, or name the right one)",
    )


def _ask_where_two_fit(chosen: Format, file: RawFile, kind: Kind) -> None:
    """Refuse what may be two things, and what only looks like rows of a kind.

    Raises:
        DataError: naming what it may be, and the formats to choose from.
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
    """Whether the first line without known names has a word a cell, and no later line does."""
    one_word_each = [
        isinstance(row, list) and all(cell.isidentifier() for cell in row) for row in file.head
    ]
    return len(one_word_each) > 1 and one_word_each[0] and not any(one_word_each[1:])


# What our own rows need, by kind, and the fields of a mapping that a message suggests.
_OWN_ROWS: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "train": ("a training row needs query, and pos or history or neg", ("query", "pos", "neg")),
    "eval": ("a row of eval queries needs query, and pos_index or judgments", ("query",)),
    "corpus": ("a passage needs text", ("text",)),
}


def _wanted(file: RawFile, kind: Kind) -> str:
    """Return what is needed in place of the file's columns; nothing for other files."""
    if not file.fields:
        return ""
    needed, fields = _OWN_ROWS[kind]
    return f": {needed} ({naming_hint(list(file.fields), fields)})"


def _shape(file: RawFile) -> str:
    if file.fields:
        return f"its columns are {', '.join(name[:40] for name in list(file.fields)[:20])}"
    if file.container in ("cells", "fields"):
        counts = Counter(len(row) for row in file.head)
        if set(counts) == {1}:
            return f"its lines are single cells, such as {shown(file.head[0][0])}"
        found = " or ".join(str(count) for count, _ in counts.most_common(3))
        return f"its lines have {found} cells ({file.dialect})"
    return f"its records are such as {shown(file.head[0])}"
