"""ToolBench's instructions with the APIs they need, and the retrieval folder made from them.

A record of instructions, known by ``query`` and ``api_list``::

    {"query_id": 17, "query": "When is high tide?", "relevant APIs": [["tide", "table"]],
     "api_list": [{"tool_name": "tide", "api_name": "table", "api_description": "lists tides"},
                  {"tool_name": "tide", "api_name": "moon", "api_description": "moon phases"}]}

The relevant APIs are positives, and the others of ``api_list`` negatives. The retrieval folder,
known by its file names::

    corpus.tsv          docid and document_content (an API as JSON, or plain text), with a header
    SPLIT.query.txt     query id and query, without a header
    qrels.SPLIT.tsv     judgments
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.formats.beir import chosen_split
from llm_embedder_data.rows.formats.format import Format, each_record
from llm_embedder_data.rows.formats.judgments import eval_rows, train_rows
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_texts import PassageTexts, refuse_template
from llm_embedder_data.rows.formats.trec import grades_of_folder
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import (
    BadRowError,
    Dropped,
    Kind,
    Row,
    text_of,
    train_row,
)


def api_text(api: Mapping[str, Any]) -> str:
    """Return the text of an API: its tool, name and description, joined by a colon and a blank."""
    names = ("tool_name", "api_name", "api_description")
    values = [api.get(name) for name in names]
    return ": ".join(text.strip() for text in values if isinstance(text, str) and text.strip())


def _recognizes(file: RawFile) -> bool:
    return {"api_list", "query"} <= set(file.fields)


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    apis = record.get("api_list")
    relevant = record.get("relevant APIs", record.get("relevant_apis"))
    if not isinstance(apis, list) or not all(isinstance(api, Mapping) for api in apis):
        raise BadRowError(f"api_list: expected a list of objects, found {shown(apis)}")
    if not isinstance(relevant, list) or not all(isinstance(names, list) for names in relevant):
        raise BadRowError(f"relevant APIs: expected a list of [tool, API], found {shown(relevant)}")
    wanted = {(shown(names[0]), shown(names[1])) for names in relevant if len(names) >= 2}
    by_name = [(shown(api.get("tool_name")), shown(api.get("api_name"))) for api in apis]
    missing = len(wanted - set(by_name))
    if missing:
        parts.counts["relevant APIs that api_list does not have"] += missing
    texts = {True: dict[str, None](), False: dict[str, None]()}
    for name, api in zip(by_name, apis, strict=True):
        texts[name in wanted][text_of(api_text(api), "api_list")] = None
    if not texts[True]:
        raise Dropped("rows without a positive")
    neg = [text for text in texts[False] if text not in texts[True]]
    query_id = record.get("query_id")
    return train_row(record.get("query"), texts[True], neg, query_id=query_id)


def _is_folder(folder: Path) -> bool:
    return (folder / "corpus.tsv").is_file() and any(folder.glob("*.query.txt"))


def document_text(content: str) -> str:
    """Return the text of a document of the folder, which is an API as JSON, or plain text."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return api_text(value) if isinstance(value, Mapping) else content


def _texts(folder: Path, name: str, names: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    """Yield the ids and texts of a file of the folder.

    Args:
        folder: the folder.
        name: name of the file.
        names: the names in the file's header; None if it has no header.
    """
    path = folder / name
    if not path.is_file():
        raise DataError.at(str(folder), f"the folder has no {name}")
    file = RawFile(str(path))
    for record in file:
        value = record.value
        if names is not None and isinstance(value, Mapping):
            value = [value.get(name) for name in names]
        is_pair = isinstance(value, list) and len(value) == 2
        if not is_pair or not all(isinstance(cell, str) and cell.strip() for cell in value):
            raise DataError.at(
                file.path, "expected an id and a text", row=record.row, line=record.line
            )
        if record.row or list(value) != list(names or ()):  # skip a header that is read as a row
            yield value[0], value[1]


def _corpus_texts(folder: Path) -> Iterator[tuple[str, str]]:
    for doc_id, content in _texts(folder, "corpus.tsv", ("docid", "document_content")):
        yield doc_id, document_text(content)


def _parts(parts: Parts, kind: Kind) -> Parts:
    folder = Path(parts.source)
    names = [path.name.split(".")[1] for path in sorted(folder.glob("qrels.*.tsv"))]
    if not names:
        raise DataError.at(parts.source, "the folder has no judgments (expected qrels.SPLIT.tsv)")
    split = chosen_split(names, kind, parts.options.split, parts.source)
    parts.files = [RawFile(str(folder / f"qrels.{split}.tsv"))]
    if parts.texts_of_queries is None:
        queries = _texts(folder, f"{split}.query.txt", None)
        texts = {query_id: (query_id, text) for query_id, text in queries}
        parts.texts_of_queries = lambda: texts
    if parts.texts_of_corpus is None:
        corpus = dict(_corpus_texts(folder))
        parts.texts_of_corpus = lambda: corpus
    return parts


def _folder_train(parts: Parts) -> Iterator[Row]:
    if not _is_folder(Path(parts.source)):
        yield from each_record(_train)(parts)
        return
    refuse_template(parts)
    parts = _parts(parts, "train")
    yield from train_rows(grades_of_folder(parts), parts)


def _folder_eval(parts: Parts) -> Iterator[Row]:
    _require_folder(parts, "eval")
    parts = _parts(parts, "eval")
    yield from eval_rows(grades_of_folder(parts), parts)


def _require_folder(parts: Parts, kind: Kind) -> None:
    if not Path(parts.source).is_dir():
        raise DataError.at(
            parts.source,
            f"it holds ToolBench's instructions, from which no {kind} rows can be read (give the "
            "retrieval folder)",
        )


def _folder_corpus(parts: Parts) -> Iterator[Row]:
    _require_folder(parts, "corpus")
    passages = PassageTexts(parts)
    for doc_id, text in _corpus_texts(Path(parts.source)):
        yield passages.row({"id": doc_id, "text": text})
    passages.check_fields()


TOOLBENCH = Format(
    name="toolbench",
    what="ToolBench's instructions with api_list, or its retrieval folder",
    recognizes=_recognizes,
    recognizes_folder=_is_folder,
    train=_folder_train,
    eval=_folder_eval,
    corpus=_folder_corpus,
)
