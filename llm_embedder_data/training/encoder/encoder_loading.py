"""Loads the encoder of a BiEncoder from a name, a folder, or a model in memory."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from transformers import PreTrainedModel

from llm_embedder_data.config.model_files import transformer_folder
from llm_embedder_data.config.pretrained import cannot_be_loaded, load_encoder_model
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import cause
from llm_embedder_data.training.encoder.adapters import base_of, with_saved_adapters


def load_encoder(encoder: str | PreTrainedModel) -> PreTrainedModel:
    """Return the encoder, loaded as float32 if a name or path is given.

    Raises:
        ConfigError: the model cannot be loaded, its files lack weights, or it is an
            encoder-decoder.
    """
    loaded = _from_files(encoder) if isinstance(encoder, str) else encoder
    base = base_of(loaded)
    is_encoder = type(base).__name__.endswith(("EncoderModel", "Encoder"))
    if getattr(base.config, "is_encoder_decoder", False) and not is_encoder:
        raise ConfigError(
            f"encoder={type(base).__name__}: an encoder-decoder, expected an encoder or a "
            "decoder (give its encoder, e.g. T5EncoderModel.from_pretrained(...))"
        )
    return loaded


def _from_files(encoder: str) -> PreTrainedModel:
    folder = transformer_folder(encoder)
    adapters = Path(os.path.expanduser(encoder), folder, "adapter_config.json")
    try:
        if adapters.is_file():
            return with_saved_adapters(adapters.parent)
        loaded, missing_weights = load_encoder_model(encoder)
    except ConfigError:
        raise
    except Exception as error:  # each file format raises exceptions of its own
        raise cannot_be_loaded(encoder, error) from cause(error)
    # A missing pooler does no harm: embeddings do not use it, and many encoders come without one.
    if missing := sorted(name for name in missing_weights if "pooler." not in name):
        raise ConfigError(
            f"encoder={encoder!r}: its files lack {len(missing)} weights of "
            f"{type(loaded).__name__}, such as {missing[0]}, which would be initialized at random "
            "(give a complete model; or load it yourself, and give the model)"
        )
    kinds = getattr(loaded.config, "architectures", None) or []
    if any(kind.endswith("ForSequenceClassification") for kind in kinds):
        rank_zero_warn(
            f"encoder={encoder!r} is a {kinds[0]}, such as a reranker: it was not trained to embed "
            "texts, so its embeddings mean little before a fine-tuning (the verb score takes "
            "rerankers, as teacher=)"
        )
    return loaded
