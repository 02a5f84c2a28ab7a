"""Cross-encoders score as sentence-transformers' CrossEncoder.predict does."""

import json
from pathlib import Path

import pytest
import torch
from scoring_cases import cross_encoder, rows_with_answers
from transformers import AutoTokenizer, BertModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.scoring.building import (
    TeacherSettings,
    build_teacher,
    kind_of_teacher,
)
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore


@pytest.fixture
def folder(minilm, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    cross_encoder(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def scored(folder, **settings):
    rows = list(RowsToScore(rows_with_answers()))
    teacher = build_teacher(str(folder), TeacherSettings(kind="cross-encoder", **settings))
    scores = teacher.scores(teacher.prepare(rows), lambda n_inputs: None)
    pairs = [(row.query, key) for row in rows for key in row.keys]
    return teacher, pairs, [score for of_row in scores for score in of_row]


def add_to_config(folder, **entries):
    path = Path(folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"sentence_transformers": {"activation_fn": IDENTITY}},
        {"sbert_ce_default_activation_function": IDENTITY},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}},
    ],
)
@pytest.mark.parametrize("batch_tokens", [60, 100_000])
def test_scores_equal_those_of_sentence_transformers(folder, entries, batch_tokens):
    from sentence_transformers import CrossEncoder

    add_to_config(folder, **entries)

    teacher, pairs, found = scored(folder, batch_tokens=batch_tokens)

    wanted = CrossEncoder(str(folder), device="cpu").predict(pairs)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)
    assert teacher.counts["pairs cut"] > 0


def test_the_activation_of_an_exported_folder_is_read(folder, tmp_path_factory):
    from sentence_transformers import CrossEncoder

    exported = tmp_path_factory.mktemp("exported")
    CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity()).save(str(exported))

    _, pairs, found = scored(exported)

    wanted = CrossEncoder(str(exported), device="cpu").predict(pairs)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)
    assert max(found) > 1 or min(found) < 0


def test_a_given_activation_wins(folder):
    _, _, by_default = scored(folder)
    _, _, logits = scored(folder, activation="Identity")

    torch.testing.assert_close(torch.tensor(logits).sigmoid(), torch.tensor(by_default))


def test_an_unknown_activation_is_refused(folder):
    with pytest.raises(ConfigError, match="activation='Softmacks': expected the name of a class"):
        scored(folder, activation="Softmacks")


def test_a_model_with_several_labels_is_refused(folder, minilm):
    cross_encoder(AutoTokenizer.from_pretrained(minilm), n_labels=3).save_pretrained(folder)

    with pytest.raises(ConfigError, match="has 3 labels, and a score is one number"):
        scored(folder)


def test_a_model_without_a_trained_classifier_is_refused(folder, minilm):
    BertModel(cross_encoder(AutoTokenizer.from_pretrained(minilm)).config).save_pretrained(folder)

    with pytest.raises(ConfigError, match=r"lack the weights classifier\.bias"):
        scored(folder)


def test_more_tokens_than_positions_are_refused(folder):
    with pytest.raises(ConfigError, match="max_length=49: the teacher was made for 48 tokens"):
        scored(folder, max_length=49)


def test_the_kind_follows_from_the_architecture(folder, minilm_model):
    assert kind_of_teacher(str(folder), "auto") == "cross-encoder"
    assert kind_of_teacher(minilm_model, "auto") == "bi-encoder"
    add_to_config(folder, architectures=["LlamaForCausalLM"])
    with pytest.raises(ConfigError, match="is a causal language model, which scores in two ways"):
        kind_of_teacher(str(folder), "auto")
