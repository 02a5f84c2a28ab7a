"""Arctic-Embed's three tables: documents, queries, and labels; above 0 positive, below negative."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.canonical_rows import Row, corpus_row, text_of, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.raw_files import RawFile

_TOKENS = ("DOCUMENT_TOKEN_ID_LIST", "QUERY_TOKEN_ID_LIST")


def _is_folder(folder: Path) -> bool:
    return all(any(folder.glob(f"{name}.*")) for name in ("documents", "queries")) and (
        any(folder.glob("labels.*")) or any(folder.glob("relations.*"))
    )


def _file(folder: Path, *names: str) -> RawFile:
    found = [path for name in names for path in sorted(folder.glob(f"{name}.*"))]
    return RawFile(str(found[0]))


def _texts(file: RawFile, side: str) -> dict[str, str]:
    texts = {}
    for record in file:
        value = record.value
        if any(name in value for name in _TOKENS):
            raise DataError.at(
                file.path,
                "it holds token ids in place of texts, which fit one tokenizer alone (give the "
                "tables of texts)",
            )
        one = next((value[n] for n in (f"{side}_ID", f"BATCH_{side}_ID") if n in value), None)
        texts[str(one)] = text_of(value.get(f"{side}_TEXT"), f"{side}_TEXT")
    return texts


def _train(parts: Parts) -> Iterator[Row]:
    folder = Path(parts.source)
    queries, documents = (
        _texts(_file(folder, name), side)
        for name, side in (("queries", "QUERY"), ("documents", "DOCUMENT"))
    )
    parts.texts_of_corpus = lambda: documents
    groups: dict[str, tuple[object, list[str], list[str]]] = {}
    for record in _file(folder, "labels", "relations"):
        value: Mapping[str, object] = record.value
        own_id = value.get("QUERY_ID", value.get("BATCH_QUERY_ID"))
        document = str(value.get("DOCUMENT_ID", value.get("BATCH_DOCUMENT_ID")))
        relevance = value.get("RELEVANCE")
        group = groups.setdefault(str(own_id), (own_id, [], []))
        if not isinstance(relevance, int | float) or relevance == 0:
            parts.counts["labels of 0, which say nothing"] += 1
        else:
            group[1 if relevance > 0 else 2].append(document)
    for query_id, (own_id, positive, negative) in groups.items():
        if not positive:
            parts.counts["queries without a positive"] += 1
            continue
        if query_id not in queries:
            parts.counts["judged queries that are not in the queries"] += 1
            continue
        yield train_row(
            queries[query_id],
            parts.joined(positive, "positive"),
            parts.joined(negative, "negative") if negative else (),
            query_id=own_id,
        )


def _corpus(parts: Parts) -> Iterator[Row]:
    for one, text in _texts(_file(Path(parts.source), "documents"), "DOCUMENT").items():
        yield corpus_row(one, text)


ARCTIC = Format(
    name="arctic",
    what="Arctic-Embed's tables of documents, queries and labels",
    recognizes_folder=_is_folder,
    train=_train,
    corpus=_corpus,
)
