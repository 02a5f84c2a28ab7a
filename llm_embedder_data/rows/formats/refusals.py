"""Formats that are recognized only to be refused, with a message that says what to use instead."""

from __future__ import annotations

from collections.abc import Mapping

from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.formats.short_texts import are_short
from llm_embedder_data.rows.records.raw_files import RawFile


def _are_integers(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(number, int) and not isinstance(number, bool) for number in value)
    )


def _has_token_ids(file: RawFile) -> bool:
    """Return whether queries or passages are lists of integers, or columns are named as such."""
    if any(name.endswith("TOKEN_ID_LIST") for name in file.fields):
        return True
    names = ("query", "positives", "positive", "pos", "negatives", "neg")
    return any(_are_integers(value) for value in file.values("query")) or any(
        isinstance(value, list) and bool(value) and all(map(_are_integers, value))
        for name in names
        for value in file.values(name)
        if "query" in file.fields
    )


def _is_generative(file: RawFile) -> bool:
    return (
        bool(file.fields)
        and set(file.fields) <= {"text", "id", "source"}
        and all(isinstance(value, list) for value in file.values("text"))
        and bool(file.values("text"))
    )


_QUESTIONS = ("question", "query")
_ANSWERS = ("answer", "answers", "short_answers", "nq_answers")

# Columns that hold passages, or name them: a file that has one is no file of bare answers.
_PASSAGES = {
    *("pos", "positive", "positives", "passage", "passages", "document", "documents", "context"),
    *("contexts", "ctxs", "positive_ctxs", "positive_passages", "paragraphs", "relevant_passages"),
    *("pos_doc", "history", "candidates", "pos_index", "relevant", "docs", "api_list"),
    *("teacher_scores", "supporting_facts", "response", "document_text", "positive_document_ids"),
    "text",
}


def _is_open_qa(file: RawFile) -> bool:
    """Return whether rows are questions with lists of short answers, and without passages."""
    names = {name.strip().lower(): name for name in file.fields}
    answers = next((names[name] for name in _ANSWERS if name in names), None)
    if answers is None or not any(name in names for name in _QUESTIONS):
        return False
    if _PASSAGES & set(names):
        return False
    values = file.values(answers)
    return bool(values) and all(isinstance(value, list) for value in values) and are_short(values)


def _is_natural_questions(file: RawFile) -> bool:
    return {"document_text", "long_answer_candidates"} <= set(file.fields)


def _is_multimodal(file: RawFile) -> bool:
    media = {"images", "image", "videos", "video", "audios", "audio", "query_image"}
    found = [value for value in file.head if isinstance(value, Mapping)]
    return (
        "messages" in file.fields
        and bool(found)
        and all(any(value.get(name) for name in media) for value in found)
    )


def _are_counts(file: RawFile) -> bool:
    return {"total_count", "count_per_file"} <= set(file.fields)


def _is_sgml(file: RawFile) -> bool:
    return file.container in ("cells", "fields") and any(
        "<top>" in str(value).lower() for value in file.head[:3]
    )


REFUSED = (
    Format(
        name="token_ids",
        what="rows of token ids",
        recognizes=_has_token_ids,
        refusal=(
            "it holds token ids in place of texts (Tevatron 1, OpenMatch or Arctic, tokenized), "
            "which fit one tokenizer alone (give the rows of texts)"
        ),
    ),
    Format(
        name="generative",
        what="generative training data",
        recognizes=_is_generative,
        refusal=(
            "it holds texts to generate (GritLM's generative data), and no queries with passages "
            "(give the embedding data)"
        ),
    ),
    Format(
        name="open_questions",
        what="questions and answers without passages",
        recognizes=_is_open_qa,
        refusal=(
            "it holds questions with short answers and no passages (NQ-open), and an answer is no "
            "passage to retrieve (give the passages, e.g. DPR's positive_ctxs; format: columns "
            "trains on the answers all the same)"
        ),
    ),
    Format(
        name="natural_questions",
        what="Natural Questions with token spans",
        recognizes=_is_natural_questions,
        refusal=(
            "it holds Natural Questions' pages with token spans, from which passages must be cut "
            "first (give DPR's or Tevatron's version of it)"
        ),
    ),
    Format(
        name="multimodal",
        what="rows of images, video or audio",
        recognizes=_is_multimodal,
        refusal="it holds images, video or audio, and only texts are read (give rows of text)",
    ),
    Format(
        name="counts",
        what="contrastors' counts.json",
        recognizes=_are_counts,
        refusal="it counts the rows of other files and holds none (leave it out)",
    ),
    Format(
        name="trec_topics",
        what="TREC topics in SGML",
        recognizes=_is_sgml,
        refusal="it holds TREC topics in SGML (write them as lines of id, tab, text)",
    ),
)
