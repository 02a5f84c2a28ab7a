"""An encoder from a name, a folder, or a model: what BiEncoder can train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModel, PreTrainedModel

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.adapters import base_of, with_saved_adapters


def load_encoder(encoder: str | PreTrainedModel) -> PreTrainedModel:
    """Return the encoder, loaded if it is a name or path.

    Raises:
        ConfigError: the model is an encoder-decoder.
    """
    loaded = _from_files(encoder) if isinstance(encoder, str) else encoder
    base = base_of(loaded)
    if getattr(base.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"encoder={type(base).__name__}: an encoder-decoder, expected an encoder or a "
            "decoder (give its encoder, e.g. T5EncoderModel.from_pretrained(...))"
        )
    return loaded


def _from_files(encoder: str) -> PreTrainedModel:
    # float32 whatever the files hold: in bfloat16 an AdamW update at 5e-6 rounds to nothing. The
    # precision to compute in is a setting of the trainer.
    adapters = Path(encoder) / "adapter_config.json"
    if adapters.is_file():
        return with_saved_adapters(adapters.parent)
    loaded: Any = AutoModel.from_pretrained(encoder, dtype=torch.float32)
    return cast(PreTrainedModel, loaded)
