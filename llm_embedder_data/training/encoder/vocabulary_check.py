"""Checks, before training starts, that an encoder and a tokenizer have the same token ids.

With a tokenizer of another model, the encoder looks up the embeddings of other tokens. Training
then runs, and gives a bad model; or an id has no embedding, and a GPU stops without saying why.
"""

from __future__ import annotations

import os

from torch import nn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_tokenizer import load_tokenizer
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def check_vocabulary(
    encoder: nn.Module, model: str | None, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Check that a tokenizer fits an encoder.

    Args:
        encoder: a transformers model, possibly wrapped.
        model: the folder or hub name that the encoder was loaded from; None if unknown.
        tokenizer: the tokenizer that makes its inputs.

    Returns:
        A warning if the encoder's own tokenizer gives tokens other ids; else an empty list.

    Raises:
        ConfigError: the encoder has no embedding for an id of the tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    name = one_line(tokenizer.name_or_path or type(tokenizer).__name__)
    token, last = max(vocabulary.items(), key=lambda entry: entry[1])
    n_embeddings = _n_embeddings(encoder)
    if n_embeddings is not None and last >= n_embeddings:
        raise ConfigError(
            f"data.tokenizer={name}: the token {one_line(token)!r} has the id {last}, but the "
            f"encoder {type(encoder).__name__} has embeddings for {n_embeddings} tokens only (give "
            "the encoder's own tokenizer; if you added tokens, call "
            "encoder.resize_token_embeddings(1 + the largest id))"
        )
    own = _own_vocabulary(model, tokenizer)
    n_other = sum(vocabulary.get(token) != number for token, number in own.items())
    if not n_other:
        return []
    return [
        f"data.tokenizer={name} gives {n_other:,} of the {len(own):,} tokens of the encoder "
        f"{one_line(str(model))} other ids than the encoder's own tokenizer, so they get the "
        "embeddings of other tokens (give the encoder's own tokenizer, unless you mean to train "
        "its embeddings anew)"
    ]


def _n_embeddings(encoder: nn.Module) -> int | None:
    """Return the number of rows of an encoder's embedding table; None if it has none."""
    try:
        table = encoder.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def _own_vocabulary(model: str | None, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the vocabulary of the encoder's own tokenizer if it may differ from the given one.

    It is empty if both have the same name, or if the encoder's files have no tokenizer.
    """
    if model is None or os.path.expanduser(model) == tokenizer.name_or_path:
        return {}
    try:
        return load_tokenizer(model).get_vocab()
    except Exception:  # a folder of weights alone; transformers raises errors of many types
        return {}
