"""Folders of a corpus, queries and judgments: BEIR's, and FlagEmbedding's custom evaluation.

BEIR: corpus.jsonl, [prefix-]queries.jsonl, [prefix-]qrels/SPLIT.tsv. FlagEmbedding: corpus.jsonl,
SPLIT_queries.jsonl, SPLIT_qrels.jsonl. A document judged 0 is a labelled negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.formats.folder_passages import passages_of
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.id_text import ID_TEXT, read_texts
from llm_embedder_data.rows.formats.judgments import eval_rows, train_rows
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.trec import grades_of_folder
from llm_embedder_data.rows.passages.passage_files import PassageFile
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Kind, Row, document_id

PREFERRED = {"train": ("train",), "eval": ("test", "dev", "validation", "val"), "corpus": ()}


def chosen_split(names: list[str], kind: Kind, given: str | None, source: str) -> str:
    """Which of several splits is read.

    Raises:
        ConfigError: the split that is asked for is not there, or none fits the kind of rows.
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


def _plain(path: Path) -> str:
    return path.name.split(".")[0]


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _is_beir(folder: Path) -> bool:
    return bool(_qrels_folders(folder)) and bool(_queries(folder))


def _queries(folder: Path, before: str = "*") -> list[Path]:
    """The files of queries: JSON Lines in BEIR's own folders, Parquet in converted ones."""
    return _files(folder, f"{before}queries*.jsonl*") or _files(folder, f"{before}queries*.parquet")


def _qrels_folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name.endswith("qrels")
    )


def _prefix(parts: Parts) -> str:
    """Which of several sets of queries is read."""
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
    names = [_plain(path) for path in judged]
    split = chosen_split(names, kind, parts.options.split, str(folder / f"{before}qrels"))
    parts.files = [RawFile(str(path)) for path in judged if _plain(path) == split]
    queries = _queries(folder, before) or _queries(folder)
    return with_texts(parts, queries, _files(folder, "corpus*"))


def with_texts(parts: Parts, queries: list[Path], corpus: list[Path]) -> Parts:
    """Parts with the texts of a folder's queries and corpus, unless others are named."""
    if parts.texts_of_queries is None and queries:
        parts.texts_of_queries = cache(lambda: query_texts(parts, queries))
    if parts.texts_of_corpus is None and corpus:
        parts.texts_of_corpus = cache(lambda: corpus_texts(parts, corpus))
    return parts


def query_texts(parts: Parts, files: list[Path]) -> dict[str, tuple[object, str]]:
    """The ids and texts of queries, by the id's text."""
    own = Parts(
        str(files[0]),
        [RawFile(str(path)) for path in files],
        parts.options,
        skips_bad_rows=parts.skips_bad_rows,
    )
    return {document_id(one, "query id"): (one, text) for one, text in read_texts(own)}


def corpus_texts(parts: Parts, files: list[Path]) -> PassageFile:
    """The passages of a corpus by id; what was left out of it is counted among the parts."""
    assert ID_TEXT.corpus is not None
    return passages_of(parts, files, ID_TEXT.name, ID_TEXT.corpus)


def reader_of(
    kind: Kind, prepare: Callable[[Parts, Kind], Parts]
) -> Callable[[Parts], Iterator[Row]]:
    """A reader of a folder's judged rows."""

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
    assert ID_TEXT.corpus is not None
    yield from ID_TEXT.corpus(parts)


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
    names = [_plain(path).removesuffix("_qrels") for path in _files(folder, "*_qrels.jsonl*")]
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
