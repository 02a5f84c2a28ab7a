"""How long a text may be is the encoder's to say."""

import pytest
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    OPTConfig,
    OPTModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from llm_embedder_data.config import ConfigError
from llm_embedder_data.training.encoder.position_limits import check_positions

SMALL = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def bert():
    return BertModel(BertConfig(**SMALL, intermediate_size=8, max_position_embeddings=20))


def roberta():  # whose padding has position 1, so that the first text has 2
    config = RobertaConfig(**SMALL, intermediate_size=8, max_position_embeddings=22, pad_token_id=1)
    return RobertaModel(config)


def gpt2():
    return GPT2Model(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1, n_positions=20))


def opt():  # whose table has two more
    config = OPTConfig(**SMALL, ffn_dim=8, word_embed_proj_dim=8, max_position_embeddings=20)
    return OPTModel(config)


@pytest.mark.parametrize("make", [bert, roberta, gpt2, opt])
def test_a_text_longer_than_the_table_of_positions_is_refused(make):
    encoder = nn.Sequential(make())  # wrapped, as an adapter does

    assert check_positions(encoder, {"data.key_max_length": (20, 20)}) == []
    with pytest.raises(ConfigError, match=r"data\.key_max_length=21: .* positions for 20 tokens"):
        check_positions(encoder, {"data.key_max_length": (21, 21)})


def test_padding_needs_positions_where_it_has_them():
    with pytest.raises(ConfigError, match=r"=18, padded to 24: .* for 20 tokens.*multiple_of"):
        check_positions(bert(), {"data.key_max_length": (18, 24)})
    assert check_positions(roberta(), {"data.key_max_length": (18, 24)}) == []


def test_without_a_table_a_longer_text_is_said_alone():
    modern = ModernBertModel(
        ModernBertConfig(**SMALL, intermediate_size=8, max_position_embeddings=20, pad_token_id=0)
    )
    t5 = T5EncoderModel(
        T5Config(vocab_size=9, d_model=8, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    )

    [said] = check_positions(modern, {"data.key_max_length": (21, 24)})
    assert "data.key_max_length=21: the encoder ModernBertModel was made for 20 tokens" in said
    assert check_positions(modern, {"data.key_max_length": (20, 24)}) == []
    assert check_positions(t5, {"data.key_max_length": (9999, 9999)}) == []
