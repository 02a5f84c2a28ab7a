"""What each file of a folder is for, by its name: rows, a corpus, queries or judgments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llm_embedder_data.rows.schema.canonical_rows import Kind
from llm_embedder_data.rows.sources.data_places import of_split
from llm_embedder_data.rows.sources.folder_files import FolderFiles, files_in

_CORPUS = re.compile(
    r"^(corpus|collection|documents?|docs|passages|wiki_corpus)(?![a-z])", re.IGNORECASE
)
_QUERIES = re.compile(r"(^|[-_.])(queries|qas|topics)\b", re.IGNORECASE)
_QRELS = re.compile(r"(^|[-_.])qrels\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FilesByRole:
    """The files of a folder by what they are for.

    Attributes:
        rows: the files of rows, and the files that are left out.
        beside: the other files, by the setting that would name them: ``corpus``, ``queries`` and
            ``qrels``.
    """

    rows: FolderFiles
    beside: dict[str, list[Path]]


def files_by_role(folder: Path, kind: Kind, split: str | None) -> FilesByRole:
    """Return the files of a folder by what they are for.

    Rows of the kind ``corpus`` are in the files of a corpus, if there are any. Rows of the kind
    ``eval`` are in those of judgments, if there are any; so are all rows if there are no others.

    Args:
        folder: the folder.
        kind: the kind of the rows.
        split: the split to read; None: the usual one of the kind.

    Raises:
        ConfigError: no file is of the given split.
    """
    found = files_in(folder)
    paths = found.files
    corpus = [path for path in paths if _CORPUS.search(path.name)]
    queries = [path for path in paths if _QUERIES.search(path.name) and path not in corpus]
    qrels = [path for path in paths if _QRELS.search(path.name)]
    beside = {*corpus, *queries, *qrels}
    rows = [path for path in paths if path not in beside]
    if kind == "corpus":
        rows = corpus or rows
    elif qrels and (kind == "eval" or not rows):
        rows = qrels
    of_rows = FolderFiles(rows, found.left_out).of_one_kind()
    if rows:
        of_rows = of_split(of_rows, folder, kind, split)
    queries, qrels = (
        of_split(FolderFiles(files), folder, kind, None).files for files in (queries, qrels)
    )
    return FilesByRole(of_rows, {"corpus": corpus, "queries": queries, "qrels": qrels})
