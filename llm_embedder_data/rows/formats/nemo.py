"""NeMo Automodel's rows: question, pos_doc, neg_doc; texts inline, or ids of a corpus folder.

An id file is one object, {"corpus": [{"path": ...}], "data": [...]}; paths are relative to it. The
corpus folder's merlin_metadata.json names the instructions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.canonical_rows import BadRowError, Dropped, Row, titled, train_row
from llm_embedder_data.rows.formats.format import Format, Parts
from llm_embedder_data.rows.formats.id_text import id_and_text
from llm_embedder_data.rows.raw_files import RawFile

_METADATA = "merlin_metadata.json"


def _is_id_file(file: RawFile) -> bool:
    return (
        len(file.head) == 1
        and isinstance(file.head[0], Mapping)
        and isinstance(file.head[0].get("data"), list)
        and isinstance(file.head[0].get("corpus"), list)
    )


def _recognizes(file: RawFile) -> bool:
    return "pos_doc" in file.fields or _is_id_file(file)


def _read(parts: Parts) -> Iterator[Row]:
    for file in parts.files:
        if not _is_id_file(file):
            for record in file:
                parts.at = (file.path, record)
                yield from _row(record.value, parts, {}, (None, None))
            continue
        whole = file.head[0]
        corpora = {}
        for entry in whole["corpus"]:
            folder = Path(file.path).parent / str(entry.get("path"))
            corpora.update(_corpus(folder))
        for number, record in enumerate(whole["data"]):
            parts.at = None
            name = record.get("corpus_id") if isinstance(record, Mapping) else None
            texts, instructions = corpora.get(str(name)) or next(iter(corpora.values()), ({}, None))
            if not texts:
                raise DataError.at(file.path, f"data[{number}]: no corpus {name!r}")
            yield from _row(record, parts, texts, instructions or (None, None))


def _row(
    record: Any,
    parts: Parts,
    texts: Mapping[str, str],
    instructions: tuple[str | None, str | None],
) -> Iterator[Row]:
    try:
        if not isinstance(record, Mapping):
            raise BadRowError("expected an object")
        pos = _texts(record.get("pos_doc"), "pos_doc", texts, parts)
        if not pos:
            raise Dropped("rows without a positive")
        yield train_row(
            record.get("question", record.get("query")),
            pos,
            _texts(record.get("neg_doc"), "neg_doc", texts, parts),
            query_id=record.get("question_id", record.get("query_id")),
            query_instruction=record.get("query_instruction") or instructions[0],
            key_instruction=record.get("passage_instruction") or instructions[1],
        )
    except (BadRowError, Dropped) as error:
        parts.leave_out(error)


def _texts(value: Any, field: str, texts: Mapping[str, str], parts: Parts) -> list[str]:
    found = []
    for entry in value if isinstance(value, list) else [value] if value else []:
        if isinstance(entry, Mapping) and "text" in entry:
            found.append(titled(entry.get("title"), entry["text"], field))
            continue
        one = entry.get("id") if isinstance(entry, Mapping) else entry
        if not texts:
            found.append(titled(None, one, field))
        elif str(one) in texts:
            found.append(texts[str(one)])
        else:
            parts.counts["ids that the corpus does not have"] += 1
    return found


def _corpus(folder: Path) -> dict[str, tuple[dict[str, str], tuple[str | None, str | None]]]:
    try:
        metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError.at(str(folder), f"{_METADATA} cannot be read: {error.strerror}") from error
    texts: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name == _METADATA or path.name.startswith("."):
            continue
        for record in RawFile(str(path)):
            found = id_and_text(record.value)
            if found is not None:
                texts[str(found[0])] = found[1]
    instructions = metadata.get("query_instruction"), metadata.get("passage_instruction")
    return {str(metadata.get("corpus_id", folder.name)): (texts, instructions)}


NEMO = Format(
    name="nemo",
    what="NeMo Automodel's rows of pos_doc and neg_doc",
    recognizes=_recognizes,
    train=_read,
)
