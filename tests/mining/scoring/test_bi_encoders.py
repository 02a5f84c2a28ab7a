"""Bi-encoders score by their similarity, and embed each distinct text once."""

import pytest
import torch
from scoring_cases import rows_with_answers
from transformers import AutoTokenizer

from llm_embedder_data.config.recipes import Instruction, Recipe
from llm_embedder_data.mining.scoring.bi_encoders import BiEncoderTeacher
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.training.bi_encoder import BiEncoder

RECIPE = Recipe("mine", {"qa": Instruction("find: ", "text: "), "*": Instruction("", "")})


@pytest.fixture
def rows():
    instructed = {"query": "q", "pos": ["short"], "instruction": {"query": "own: ", "key": None}}
    return list(RowsToScore([*rows_with_answers(), {**instructed, "task": "qa"}]))


def teacher_of(encoder, minilm_model, max_length=12):
    return BiEncoderTeacher(
        encoder,
        AutoTokenizer.from_pretrained(minilm_model),
        RECIPE,
        query_max_length=max_length,
        key_max_length=max_length,
        batch_tokens=200,
    )


def scored(teacher, rows, folder):
    teacher.embed(rows, folder, Share())
    return teacher.scores(teacher.prepare(rows), lambda n_inputs: None)


@pytest.mark.parametrize("similarity", ["cos", "dot"])
def test_scores_are_the_encoders_similarity(similarity, rows, minilm_model, tmp_path):
    encoder = BiEncoder(minilm_model, similarity=similarity).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm_model)

    found = scored(teacher_of(encoder, minilm_model), rows, tmp_path)

    @torch.inference_mode()
    def embedding(text):
        return encoder.encode(tokenizer(text, truncation=True, max_length=12, return_tensors="pt"))[
            0
        ]

    for row, of_row in zip(rows, found, strict=True):
        prompt = (row.instruction or {}).get("query") or "find: "
        query = embedding(prompt + row.query)
        wanted = [(query @ embedding("text: " + key)).item() for key in row.keys]
        assert of_row == pytest.approx(wanted, abs=1e-4 if similarity == "dot" else 1e-5)


def test_each_distinct_text_is_embedded_once(rows, minilm_model, tmp_path, monkeypatch):
    encoder = BiEncoder(minilm_model).eval()
    n_embedded = []
    encode = encoder.encode
    monkeypatch.setattr(
        encoder,
        "encode",
        lambda inputs, *more: n_embedded.append(len(inputs["input_ids"])) or encode(inputs, *more),
    )
    teacher = teacher_of(encoder, minilm_model)

    first = scored(teacher, rows, tmp_path)

    n_texts = len({key for row in rows for key in row.keys}) + len(rows)
    assert sum(n_embedded) == n_texts
    assert scored(teacher, rows, tmp_path) == first
    assert sum(n_embedded) == n_texts  # they were found in the store


def test_texts_that_are_cut_are_counted(rows, minilm_model, tmp_path):
    encoder, tokenizer = BiEncoder(minilm_model).eval(), AutoTokenizer.from_pretrained(minilm_model)
    teacher = teacher_of(encoder, minilm_model)

    scored(teacher, rows, tmp_path)

    is_cut = [len(tokenizer("text: " + key)["input_ids"]) > 12 for row in rows for key in row.keys]
    assert teacher.counts["keys cut"] == sum(is_cut) > 0
    assert teacher.counts["queries cut"] == 0
