"""ToolBench: instructions with their APIs, and the retrieval folder made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.rows.canonical_rows import BadRowError, Dropped, Row, corpus_row, train_row
from llm_embedder_data.rows.formats.format import Format, Parts, each
from llm_embedder_data.rows.formats.judgments import by_query, eval_rows, train_rows
from llm_embedder_data.rows.formats.trec import judgments_of
from llm_embedder_data.rows.raw_files import RawFile


def api_text(api: Mapping[str, Any]) -> str:
    """Tool, API and description of an API, joined by ": "."""
    names = ("tool_name", "api_name", "api_description")
    return ": ".join(text for name in names if (text := str(api.get(name) or "").strip()))


def _recognizes(file: RawFile) -> bool:
    return {"api_list", "query"} <= set(file.fields)


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    apis = record.get("api_list")
    relevant = record.get("relevant APIs", record.get("relevant_apis"))
    if not isinstance(apis, list) or not isinstance(relevant, list):
        raise BadRowError("expected api_list and 'relevant APIs'")
    wanted = {(str(one[0]), str(one[1])) for one in relevant if len(one) >= 2}
    pos, neg = [], []
    for api in apis:
        is_wanted = (str(api.get("tool_name")), str(api.get("api_name"))) in wanted
        (pos if is_wanted else neg).append(api_text(api))
    if not pos:
        raise Dropped("rows without a positive")
    return train_row(
        record.get("query"),
        dict.fromkeys(pos),
        [text for text in dict.fromkeys(neg) if text not in pos],
        query_id=record.get("query_id"),
    )


def _is_folder(folder: Path) -> bool:
    return (folder / "corpus.tsv").is_file() and any(folder.glob("*.query.txt"))


def document_text(content: str) -> str:
    """The text of a document that is an API in JSON, or that is plain text."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    return api_text(value) if isinstance(value, Mapping) else content


def read_corpus(folder: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of the folder's corpus.tsv."""
    for record in RawFile(str(folder / "corpus.tsv"), ("docid", "document_content")):
        if not isinstance(record.value, Mapping):
            raise BadRowError("corpus.tsv: expected a header of docid and document_content")
        yield str(record.value["docid"]), document_text(record.value["document_content"])


def _parts(parts: Parts, split: str) -> Parts:
    folder = Path(parts.source)
    name = parts.options.split or split
    queries = RawFile(str(folder / f"{name}.query.txt"))
    texts = {str(record.value[0]): (record.value[0], record.value[1]) for record in queries}
    corpus = dict(read_corpus(folder))
    parts.files = [RawFile(str(folder / f"qrels.{name}.tsv"))]
    parts.texts_of_queries = lambda: texts
    parts.texts_of_corpus = lambda: corpus
    return parts


def _folder_train(parts: Parts) -> Iterator[Row]:
    if not Path(parts.source).is_dir():
        yield from each(_train)(parts)
        return
    parts = _parts(parts, "train")
    yield from train_rows(by_query(judgments_of(parts), parts), parts)


def _folder_eval(parts: Parts) -> Iterator[Row]:
    parts = _parts(parts, "test")
    yield from eval_rows(by_query(judgments_of(parts), parts), parts)


def _folder_corpus(parts: Parts) -> Iterator[Row]:
    for one, text in read_corpus(Path(parts.source)):
        yield corpus_row(one, text)


TOOLBENCH = Format(
    name="toolbench",
    what="ToolBench's instructions with api_list, or its retrieval folder",
    recognizes=_recognizes,
    recognizes_folder=_is_folder,
    train=_folder_train,
    eval=_folder_eval,
    corpus=_folder_corpus,
)
