"""Scores of language models equal those of one input at a time with all its logits."""

import pytest
import torch
from scoring_cases import (
    LANGUAGE_MODELS,
    language_model,
    rows_with_answers,
    slow_likelihood,
    slow_yes_no,
    write_lines,
)
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.language_models import LikelihoodTeacher, YesNoTeacher
from llm_embedder_data.mining.scoring.prompts import LengthLimits
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore
from llm_embedder_data.mining.scoring.templates import (
    LIKELIHOOD_TEMPLATES,
    templates_by_task,
)

LIMITS = LengthLimits(512, 512, 512)


def likelihood(model, tokenizer, *, template=None, limits=LIMITS, batch_tokens=300):
    templates = templates_by_task(template, LIKELIHOOD_TEMPLATES, ("key", "query", "answer"))
    return LikelihoodTeacher(model, tokenizer, templates, limits, batch_tokens)


def scored(teacher, rows):
    return teacher.scores(teacher.prepare(rows), lambda n_inputs: None)


@pytest.fixture
def rows(tmp_path):
    source = write_lines(tmp_path / "rows.jsonl", rows_with_answers())
    return list(RowsToScore(source, needs_answers=True))


def expected(model, tokenizer, rows):
    return [
        [
            sum(
                slow_likelihood(
                    model,
                    tokenizer,
                    f"Knowledge: {key.strip()}\n\nQuestion: {row.query}\n\nAnswer: ",
                    answer,
                )
                for answer in row.answers
            )
            / len(row.answers)
            for key in row.keys
        ]
        for row in rows
    ]


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_likelihoods_are_means_over_answers_of_the_slow_ones(name, side, rows, byte_level_bpe):
    model = language_model(name)
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe, padding_side=side)

    found = scored(likelihood(model, tokenizer), rows)

    wanted = expected(model, tokenizer, rows)
    assert [len(of_row) for of_row in found] == [3] * 5
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)


def test_a_tokenizer_without_bos_and_with_eos_scores_alike(rows, unigram):
    model, tokenizer = language_model("llama"), AutoTokenizer.from_pretrained(unigram)

    found = scored(likelihood(model, tokenizer), rows)

    wanted = expected(model, tokenizer, rows)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_the_batch_does_not_change_scores(batch_tokens, rows, byte_level_bpe):
    model = language_model("qwen2")
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)

    found = scored(likelihood(model, tokenizer, batch_tokens=batch_tokens), rows)

    wanted = expected(model, tokenizer, rows)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)


def test_the_same_rows_have_the_same_scores_to_the_last_bit(rows, byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)

    first, second = (scored(likelihood(language_model("llama"), tokenizer), rows) for _ in range(2))

    assert first == second


def test_bfloat16_is_near_float32(rows, byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    exact = scored(likelihood(language_model("llama"), tokenizer), rows)

    found = scored(likelihood(language_model("llama").to(torch.bfloat16), tokenizer), rows)

    torch.testing.assert_close(torch.tensor(found), torch.tensor(exact), rtol=0.05, atol=0)
    assert found != exact


def test_templates_by_task_and_context(tmp_path, byte_level_bpe):
    model = language_model("llama")
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    row = {"query": "a question", "pos": ["a key"], "answers": ["an answer"]}
    tasks = {
        "icl": "a key\na question\n",
        "chat": "a key\nSpeaker 1: a question\nSpeaker 2: ",
        "lrlm": "a key\nbefore it a question ",
        "tool": "a question? a key! ",
    }
    source = [{**row, "task": task, "context": "before it"} for task in tasks]
    rows = list(RowsToScore(source, needs_answers=True))

    found = scored(
        likelihood(model, tokenizer, template={"tool": "{query}? {key}! {answer}"}), rows
    )

    for [score], prompt in zip(found, tasks.values(), strict=True):
        wanted = slow_likelihood(model, tokenizer, prompt, "an answer")
        assert score == pytest.approx(wanted, abs=1e-5)


def test_facts_tell_settings_apart_and_not_where_a_model_lies(byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)

    def facts(*, cap=2.0, path="", **settings):
        model = language_model("gemma2")
        model.config.final_logit_softcapping = cap
        model.config._name_or_path = path
        return likelihood(model, tokenizer, **settings).facts()

    usual = facts()
    assert facts(path="elsewhere") == usual
    others = [
        facts(cap=3.0),
        facts(template="{key}{query}{answer}"),
        facts(limits=LengthLimits(9, 9, 9)),
        facts(batch_tokens=7),
    ]
    assert all(other != usual for other in others)


def test_a_row_without_answers_has_no_scores(rows, byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    teacher = likelihood(language_model("llama"), tokenizer)
    without = RowsToScore([{"query": "q", "pos": ["p"]}], settings={"on_bad_row": "skip"})

    found = scored(teacher, [*without, *rows])

    assert found[0] is None
    assert None not in found[1:]
    assert teacher.counts["rows without scores: no answers"] == 1


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_yes_no_is_the_difference_of_two_logits(name, rows, byte_level_bpe):
    model = language_model(name)
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    yes, no = tokenizer("y")["input_ids"][1], tokenizer("n")["input_ids"][1]
    template = "Judge: {instruction}\n{query}\n{key}\nSo? "
    templates = templates_by_task(template, {}, ("key", "query"))

    teacher = YesNoTeacher(
        model, tokenizer, templates, LIMITS, 300, instruction="is it so", yes="y", no="n"
    )
    found = scored(teacher, rows)

    wanted = [
        [
            slow_yes_no(
                model, tokenizer, f"Judge: is it so\n{row.query}\n{key.strip()}\nSo? ", yes, no
            )
            for key in row.keys
        ]
        for row in rows
    ]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)


def test_a_word_of_several_tokens_is_refused(byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    templates = templates_by_task("{query} {key}", {}, ("key", "query"))

    with pytest.raises(ConfigError, match="yes_word='absolutely': the teacher's tokenizer makes"):
        YesNoTeacher(
            language_model("llama"),
            tokenizer,
            templates,
            LIMITS,
            300,
            instruction="",
            yes="absolutely",
        )


def test_a_model_that_sees_what_follows_is_refused(rows, byte_level_bpe):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    torch.manual_seed(0)
    model = BertLMHeadModel(
        BertConfig(vocab_size=640, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).eval()

    with pytest.raises(ConfigError, match="other logits in a padded batch than alone"):
        scored(likelihood(model, tokenizer), rows)
