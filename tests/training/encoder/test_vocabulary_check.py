"""An encoder gets the token ids that it has embeddings for, of a tokenizer like its own."""

import lightning
import pytest
from tiny_models import save_bert, tiny_bert
from torch import nn
from transformers import AutoTokenizer, BertForSequenceClassification, CanineConfig, CanineModel

from llm_embedder_data import BiEncoder, ConfigError, CrossEncoder, RetrievalDataModule
from llm_embedder_data.training.encoder.vocabulary_check import check_vocabulary

ROWS = [{"query": f"pier {i}", "pos": [f"the pier {i}"], "neg": ["a boat"]} for i in range(4)]
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "max_steps": 1,
}


def fit(model, tokenizer, tmp_path, **settings):
    datamodule = RetrievalDataModule(
        tokenizer,
        ROWS,
        batch_size=2,
        query_max_length=32,
        key_max_length=32,
        num_workers=0,
        cache_dir=tmp_path / "cache",
        **settings,
    )
    lightning.Trainer(**QUIET).fit(model, datamodule=datamodule)


@pytest.mark.parametrize("cross", [False, True])
def test_ids_without_an_embedding_are_refused_before_the_first_step(tmp_path, minilm, cross):
    if cross:
        model = CrossEncoder(tiny_bert(4_999, BertForSequenceClassification, num_labels=1))
    else:
        model = BiEncoder(tiny_bert(4_999))

    with pytest.raises(ConfigError, match=r"the id 4999, but .* embeddings for 4999 tokens only"):
        fit(model, minilm, tmp_path, cross=cross)


def test_the_tokenizer_of_another_model_is_said(tmp_path, minilm, unigram, caplog):
    folder = tmp_path / "model"
    tiny_bert(40_000).save_pretrained(folder)
    AutoTokenizer.from_pretrained(unigram).save_pretrained(folder)
    model = BiEncoder(str(folder))

    fit(model, minilm, tmp_path)

    assert "other ids than the encoder's own tokenizer" in caplog.text


def test_a_tokenizer_with_the_same_ids_fits(tmp_path, minilm):
    folder = save_bert(tmp_path / "model", minilm)
    encoder = BiEncoder(folder).encoder
    elsewhere = AutoTokenizer.from_pretrained(minilm)

    assert check_vocabulary(encoder, folder, elsewhere) == []
    assert check_vocabulary(nn.DataParallel(encoder), folder, elsewhere) == []
    assert check_vocabulary(encoder, str(tmp_path), elsewhere) == []  # a folder without a tokenizer
    assert check_vocabulary(encoder, None, elsewhere) == []

    elsewhere.add_tokens(["<extra>"])
    with pytest.raises(ConfigError, match=r"'<extra>' has the id 5000.*resize_token_embeddings"):
        check_vocabulary(encoder, folder, elsewhere)
    encoder.resize_token_embeddings(len(elsewhere))
    assert check_vocabulary(encoder, folder, elsewhere) == []


def test_an_encoder_without_a_table_of_tokens_takes_any(minilm):
    config = CanineConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    tokenizer = AutoTokenizer.from_pretrained(minilm)

    assert check_vocabulary(CanineModel(config), None, tokenizer) == []
