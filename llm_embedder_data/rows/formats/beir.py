"""BEIR's folder of corpus, queries and judgments, and FlagEmbedding's for its custom evaluation.

BEIR, known by its files of queries and folders of qrels::

    corpus.jsonl              {"_id": "d1", "title": "Tides", "text": "Tides follow the moon."}
    [PREFIX-]queries.jsonl    {"_id": "q1", "text": "what causes tides"}
    [PREFIX-]qrels/SPLIT.tsv  q1, d1, 1, separated by tabs, below a header

FlagEmbedding, known by the endings of its file names::

    corpus.jsonl              {"id": "d1", "title": "Tides", "text": "Tides follow the moon."}
    SPLIT_queries.jsonl       {"id": "q1", "text": "what causes tides"}
    SPLIT_qrels.jsonl         {"qid": "q1", "docid": "d1", "relevance": 1}

A document of grade 0 is a negative of its query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.formats.folder_passages import passages_of
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.id_text import ID_TEXT, read_passages, read_texts
from llm_embedder_data.rows.formats.judgments import eval_rows, train_rows
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.trec import grades_of_folder
from llm_embedder_data.rows.passages.passage_files import PassageFile
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row, document_id

# The splits of which the first is read if a folder has several and the user names none.
PREFERRED = {"train": ("train",), "eval": ("test", "dev", "validation", "val"), "corpus": ()}


def chosen_split(names: list[str], kind: Kind, given: str | None, source: str) -> str:
    """Return the split to read: the given split, else the usual split of the kind, else the only.

    Args:
        names: the splits that there are.
        kind: the kind of rows to read.
        given: the split that the user names, or None.
        source: what has the splits, for messages.

    Raises:
        ConfigError: the split that the user names does not exist, or none is named and several
            exist, none of which is usual for the kind.
    """
    if given is not None:
        if given not in names:
            raise ConfigError(
                f"split={given!r}: {source} has {', '.join(sorted(names))} (name one of these)"
            )
        return given
    for name in PREFERRED[kind]:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise ConfigError(
        f"{source} has the splits {', '.join(sorted(names))} (give split: one of them)"
    )


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _is_beir(folder: Path) -> bool:
    return bool(_qrels_folders(folder)) and bool(_queries(folder))


def _queries(folder: Path, before: str = "*") -> list[Path]:
    """Return the files of queries: JSON Lines, or Parquet in folders that somebody converted."""
    return _files(folder, f"{before}queries*.jsonl*") or _files(folder, f"{before}queries*.parquet")


def _qrels_folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name.endswith("qrels")
    )


def _prefix(parts: Parts) -> str:
    """Return the prefix of the queries and judgments to read; "" if their names have none.

    Raises:
        ConfigError: the prefix that the user names does not exist, or the user has to name one.
        DataError: the folder has no judgments.
    """
    found = [path.name.removesuffix("qrels").rstrip("-") for path in _qrels_folders(parts.folder)]
    given = parts.options.prefix
    if given is not None and given not in found:
        raise ConfigError(
            f"prefix={given!r}: {parts.source} has {', '.join(map(repr, found)) or 'no qrels'} "
            "(name one of these)"
        )
    if not found:
        raise DataError.at(parts.source, "the folder has no judgments (expected qrels/SPLIT.tsv)")
    if given is None and len(found) > 1 and "" not in found:
        raise ConfigError(f"{parts.source} has the prefixes {', '.join(found)} (give prefix:)")
    return given if given is not None else "" if "" in found else found[0]


def _beir_parts(parts: Parts, kind: Kind) -> Parts:
    folder, prefix = parts.folder, _prefix(parts)
    before = f"{prefix}-" if prefix else ""
    judged = _files(folder / f"{before}qrels", "*.*")
    if not judged:
        raise DataError.at(
            str(folder / f"{before}qrels"), "the folder has no judgments (SPLIT.tsv)"
        )
    names = [_stem(path) for path in judged]
    split = chosen_split(names, kind, parts.options.split, str(folder / f"{before}qrels"))
    parts.files = [RawFile(str(path)) for path in judged if _stem(path) == split]
    queries = _queries(folder, before) or _queries(folder)
    return with_texts(parts, queries, _files(folder, "corpus*"))


def with_texts(parts: Parts, queries: list[Path], corpus: list[Path]) -> Parts:
    """Add the texts of a folder's queries and corpus to the parts, unless the user names others."""
    if parts.texts_of_queries is None and queries:
        parts.texts_of_queries = cache(lambda: query_texts(parts, queries))
    if parts.texts_of_corpus is None and corpus:
        parts.texts_of_corpus = cache(lambda: corpus_texts(parts, corpus))
    return parts


def query_texts(parts: Parts, files: list[Path]) -> dict[str, tuple[object, str]]:
    """Return ``{id as text: (id as the file has it, query)}`` for the queries of some files.

    Raises:
        DataError: a row is bad or repeats an id, and bad rows are not skipped.
    """
    of_queries = Parts(
        str(files[0]),
        [RawFile(str(path)) for path in files],
        parts.options,
        skips_bad_rows=parts.skips_bad_rows,
    )
    return {
        document_id(query_id, "query id"): (query_id, text)
        for query_id, text in read_texts(of_queries)
    }


def corpus_texts(parts: Parts, files: list[Path]) -> PassageFile:
    """Return the passages of a corpus by id; what is left out of it is counted in ``parts``."""
    return passages_of(parts, files, ID_TEXT.name, read_passages)


def reader_of(
    kind: Kind, prepare: Callable[[Parts, Kind], Parts]
) -> Callable[[Parts], Iterator[Row]]:
    """Return a reader of a folder of corpus, queries and judgments.

    Args:
        kind: ``train`` or ``eval``.
        prepare: adds the folder's files of judgments, queries and corpus to the parts.
    """

    def read(parts: Parts) -> Iterator[Row]:
        parts = prepare(parts, kind)
        grades = grades_of_folder(parts)
        yield from (train_rows if kind == "train" else eval_rows)(grades, parts)

    return read


def _corpus(parts: Parts) -> Iterator[Row]:
    files = _files(parts.folder, "corpus*")
    if not files:
        raise DataError.at(parts.source, "the folder has no corpus (expected corpus.jsonl)")
    parts.files = [RawFile(str(path)) for path in files]
    yield from read_passages(parts)


BEIR = Format(
    name="beir",
    what="BEIR's folder of corpus, queries and qrels",
    recognizes_folder=_is_beir,
    train=reader_of("train", _beir_parts),
    eval=reader_of("eval", _beir_parts),
    corpus=_corpus,
    settings=("prefix",),
)


def _is_flagembedding(folder: Path) -> bool:
    return bool(_files(folder, "*_qrels.jsonl*")) and bool(_files(folder, "*_queries.jsonl*"))


def _flagembedding_parts(parts: Parts, kind: Kind) -> Parts:
    folder = parts.folder
    names = [_stem(path).removesuffix("_qrels") for path in _files(folder, "*_qrels.jsonl*")]
    if not names:
        raise DataError.at(parts.source, "the folder has no judgments (SPLIT_qrels.jsonl)")
    split = chosen_split(names, kind, parts.options.split, str(folder))
    parts.files = [RawFile(str(path)) for path in _files(folder, f"{split}_qrels.jsonl*")]
    queries = _files(folder, f"{split}_queries.jsonl*")
    return with_texts(parts, queries, _files(folder, "corpus*"))


FLAGEMBEDDING_EVAL = Format(
    name="flagembedding_eval",
    what="FlagEmbedding's folder of corpus, SPLIT_queries and SPLIT_qrels",
    recognizes_folder=_is_flagembedding,
    train=reader_of("train", _flagembedding_parts),
    eval=reader_of("eval", _flagembedding_parts),
    corpus=_corpus,
)
