"""Accuracy by answer strings, against DPR's definition."""

import unicodedata

import pytest
import regex
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.mining.answer_matching import answer_accuracy

WORDS = ["the", "Abbot", "abbot", "é", "e\u0301", "ΟΔΟΣ", "οδος", "1711", "-", ".", "'s", " ", "e"]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


def has_answer(text, answer):
    """DPR's has_answer with its SimpleTokenizer, as it stands there."""

    def words(text):
        pattern = regex.compile(
            r"([\p{L}\p{N}\p{M}]+)|([^\p{Z}\p{C}])",
            flags=regex.IGNORECASE + regex.UNICODE + regex.MULTILINE,
        )
        found = pattern.finditer(unicodedata.normalize("NFD", text))
        return [one.group().lower() for one in found]

    text, answer = words(text), words(answer)
    return bool(answer) and any(
        text[start : start + len(answer)] == answer for start in range(len(text) - len(answer) + 1)
    )


@given(st.lists(texts, min_size=1, max_size=4), texts)
@tried(300)
def test_an_answer_is_found_where_dpr_finds_it(passages, answer):
    found = answer_accuracy(
        torch.arange(len(passages))[None],
        [[answer]],
        lambda rows: [passages[row] for row in rows],
        [1, 4],
    )

    if not answer.strip():
        assert found == {}
        return
    hits = [has_answer(passage, answer) for passage in passages]
    assert found == {"answer_accuracy@1": float(hits[0]), "answer_accuracy@4": float(any(hits))}


def test_only_queries_with_answers_count():
    passages = ["It was cast in 1711.", "Nobody knows."]
    retrieved = torch.tensor([[1, 0], [0, 1], [1, -1]])

    found = answer_accuracy(
        retrieved,
        [["1711", "1712"], [], ["in 17"]],
        lambda rows: [passages[r] for r in rows],
        [1, 2],
    )

    assert found == pytest.approx({"answer_accuracy@1": 0.0, "answer_accuracy@2": 1 / 2})
