"""Tiny models of random weights, the same each time, for the tests of all rooms."""

import torch
from transformers import AutoTokenizer, BertConfig, BertModel, Qwen3Config, Qwen3Model

_TWO_LAYERS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
ONE_LAYER = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
}


def tiny_bert(n_tokens, kind=BertModel, *, seed=0, **settings):
    """A BERT of two layers for a vocabulary of ``n_tokens``; ``settings`` change its config."""
    torch.manual_seed(seed)
    return kind(BertConfig(vocab_size=n_tokens, **{**_TWO_LAYERS, **settings}))


def tiny_qwen(n_tokens, kind=Qwen3Model, **settings):
    """A decoder of two layers for a vocabulary of ``n_tokens``."""
    torch.manual_seed(0)
    heads = {"num_key_value_heads": 1, "head_dim": 8}
    return kind(Qwen3Config(vocab_size=n_tokens, **{**_TWO_LAYERS, **heads, **settings}))


def save_bert(folder, tokenizer_folder, kind=BertModel, **settings):
    """Save a tiny BERT with the tokenizer of another folder; return the folder as a string."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tiny_bert(len(tokenizer), kind, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
