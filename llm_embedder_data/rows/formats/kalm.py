"""KaLM's and E5's rows, whose query begins with its instruction.

A record::

    {"query": "Instruct: Find an explanation.\\nQuery: what causes tides",
     "pos": ["Tides follow the moon."], "neg": ["Rain falls from clouds."]}

A file is known by ``pos`` and by queries of this shape. Everything up to and including
``Query: `` is the instruction, so that an instruction of the recipe does not come on top of it.
Scores have the names of LLM-Embedder's or of FlagEmbedding's rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_embedder_data.rows.formats.flagembedding import scores_by_side
from llm_embedder_data.rows.formats.format import Format, each_record, is_text, most_are
from llm_embedder_data.rows.formats.llm_embedder import query_id_in
from llm_embedder_data.rows.formats.parts import Parts
from llm_embedder_data.rows.formats.passage_ids import pos_and_neg
from llm_embedder_data.rows.records.raw_files import RawFile
from llm_embedder_data.rows.schema.canonical_rows import Dropped, Row, text_of, train_row

_INSTRUCTED = re.compile(r"(Instruct:.*?\n\s*Query:\s*)(.*)", re.DOTALL)


def _recognizes(file: RawFile) -> bool:
    queries = file.values("query")
    return (
        "pos" in file.fields
        and most_are(queries, is_text)
        and any(_INSTRUCTED.match(query) for query in queries if is_text(query))
    )


def _train(record: Mapping[str, Any], parts: Parts) -> Row:
    query = text_of(record.get("query"), "query")
    sides = pos_and_neg(record, parts, "pos", ("neg",))
    if not sides.pos:
        raise Dropped("rows without a positive")
    found = _INSTRUCTED.match(query)
    scores = record.get("teacher_scores")
    return train_row(
        found[2] if found else query,
        sides.pos,
        sides.neg,
        scores=(
            scores_by_side(record, sides, parts)
            if scores is None
            else parts.complete_scores(True, sides.scores(scores, "teacher_scores"))
        ),
        query_id=query_id_in(record),
        query_instruction=found[1] if found else None,
    )


KALM = Format(
    name="kalm",
    what="rows whose query begins with 'Instruct: ... Query: '",
    recognizes=_recognizes,
    train=each_record(_train),
)
