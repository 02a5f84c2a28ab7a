"""Loads a model's tokenizer, and makes it lower-case texts if the model's files ask for that.

sentence-transformers lower-cases texts if the model's ``sentence_bert_config.json`` says so,
whatever the tokenizer does. Without that, the model would get words that it never saw in training,
and silently give worse embeddings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from tokenizers.normalizers import Lowercase, Normalizer, Sequence
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_files import (
    TRANSFORMER_FILE,
    UnknownFile,
    read_transformer_file,
)
from llm_embedder_data.config.pretrained import load_plain_tokenizer
from llm_embedder_data.core.errors import ConfigError


def load_tokenizer(model: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer, which lower-cases texts if the model's files ask for that.

    Args:
        model: a folder, or a name on the Hugging Face hub.

    Raises:
        ConfigError: the model's files ask for lower-casing, but the tokenizer is a slow one.
        OSError, ValueError: transformers cannot load the tokenizer.
    """
    tokenizer = load_plain_tokenizer(os.fspath(model))
    if not _wants_lowercase(os.fspath(model)):
        return tokenizer
    if not tokenizer.is_fast:
        raise ConfigError(
            f"{model}, {TRANSFORMER_FILE}: do_lower_case=true, and {type(tokenizer).__name__} "
            "cannot be told to lower-case texts (give a tokenizer that does)"
        )
    backend = tokenizer.backend_tokenizer
    if not _lowercases(backend.normalizer):
        rest = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = Sequence([Lowercase(), *rest])
    return tokenizer


def _wants_lowercase(model: str) -> bool:
    try:
        found = read_transformer_file(model)
    except UnknownFile:
        return False
    return isinstance(found, Mapping) and bool(found.get("do_lower_case", False))


def _lowercases(normalizer: Normalizer | None) -> bool:
    if normalizer is None:
        return False
    state = json.loads(normalizer.__getstate__())
    steps = state["normalizers"] if state["type"] == "Sequence" else [state]
    return any(step["type"] == "Lowercase" or step.get("lowercase") for step in steps)
