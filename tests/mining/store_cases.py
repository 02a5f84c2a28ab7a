"""What the tests of embedding stores are made of: a tiny encoder and its texts."""

from functools import cache

from tiny_models import tiny_bert
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder
from llm_embedder_data.mining.text_embedder import TextEmbedder

WORDS = ["the", "abbot", "rang", "a", "bell", "for", "supper", "and", "nobody", "came", "down"]


def words(n_words, first=0):
    """A text of so many words, another for each ``first``."""
    return " ".join(WORDS[(first + i * (1 + first % 5)) % len(WORDS)] for i in range(n_words))


# Of all lengths up to one that is cut, in no order, and some of them equal.
TEXTS = [words(1 + (i * 7) % 30, i) for i in range(40)] + [words(1, 0), words(8, 1)]


@cache
def tokenizer_of(folder):
    return AutoTokenizer.from_pretrained(folder)


def tiny_encoder(folder, seed=0, **settings):
    """A BERT of one small layer over the vocabulary of a folder's tokenizer."""
    bert = tiny_bert(
        len(tokenizer_of(folder)),
        seed=seed,
        hidden_size=12,
        num_hidden_layers=1,
        intermediate_size=16,
        initializer_range=0.5,  # at 0.02 all texts have nearly the same embedding
    )
    return BiEncoder(bert, **{"pooling": "mean", **settings})


def tiny_embedder(folder, encoder=None, **settings):
    """A tiny encoder with all that stands before it; dropout would show if it were on."""
    encoder = tiny_encoder(folder) if encoder is None else encoder
    return TextEmbedder(encoder, tokenizer_of(folder), **{"max_length": 24, **settings})
