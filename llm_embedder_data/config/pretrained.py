"""Loads models and tokenizers with the arguments that their own files name.

The file ``sentence_bert_config.json`` beside a model's weights may name arguments for the model,
its configuration and its tokenizer, such as ``{"tokenizer_args": {"padding_side": "left"}}``.
sentence-transformers applies them. Without them, the same weights would silently give other
embeddings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from llm_embedder_data.config.model_files import (
    TRANSFORMER_FILE,
    UnknownFile,
    read_transformer_file,
    transformer_folder,
)
from llm_embedder_data.core.errors import ConfigError

# Encoder-decoders whose encoder alone embeds texts, by model type, with the class of the encoder.
# AutoModel would load the decoder too.
_ENCODER_CLASSES = {
    "longt5": "LongT5EncoderModel",
    "mt5": "MT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
}
# The names of the arguments in current and in older files.
_CONFIG = ("config_kwargs", "config_args")
_MODEL = ("model_kwargs", "model_args")
_TOKENIZER = ("processor_kwargs", "tokenizer_args")
# Arguments that the caller or the Trainer decides: the type of the weights, the device, and the
# kernel of the attention. A file must never make code of a repository run.
_DECIDED_ELSEWHERE = {"dtype", "torch_dtype", "device_map", "attn_implementation"}
_NEVER = {"trust_remote_code"}


def load_model(auto_class: Any, model: str, **arguments: Any) -> Any:
    """Return what ``auto_class.from_pretrained`` makes of a model's files.

    Args:
        auto_class: a class of transformers, such as AutoModel.
        model: a folder, or a name on the Hugging Face hub.
        arguments: arguments for ``from_pretrained``, which override those of the files.

    Raises:
        ConfigError: the arguments in the model's files are no mapping.
        Exception: transformers cannot load the model; readers of files raise errors of many types.
    """
    of_config = _arguments(model, _CONFIG)
    of_model = _arguments(model, _MODEL, without=_DECIDED_ELSEWHERE)
    if of_config and "config" not in arguments:
        labels = {name: arguments[name] for name in arguments.keys() & {"num_labels"}}
        arguments["config"] = _from_files(AutoConfig, model, **{**of_config, **labels})
    return _from_files(auto_class, model, **{**of_model, **arguments})


def load_encoder_model(model: str) -> tuple[PreTrainedModel, set[str]]:
    """Return a model that encodes texts, and the names of weights that its files lack.

    Of T5 and the like, which have a decoder too, it is the encoder alone, as in
    sentence-transformers. The weights are float32: in bfloat16, AdamW updates at a learning rate of
    5e-6 round to 0. The trainer sets the precision of the computation.

    Raises: see :func:`load_model`.
    """
    auto_class: Any = AutoModel
    arguments: dict[str, Any] = {}
    config = load_model_config(model)
    if is_encoder_of_pair(config):
        config.is_encoder_decoder = False
        auto_class = getattr(transformers, _ENCODER_CLASSES[config.model_type])
        arguments["config"] = config
    loaded, report = load_model(
        auto_class, model, dtype=torch.float32, output_loading_info=True, **arguments
    )
    return loaded, set(report["missing_keys"])


def is_encoder_of_pair(config: PretrainedConfig) -> bool:
    """Return whether the encoder of an encoder-decoder such as T5 is taken alone."""
    return config.model_type in _ENCODER_CLASSES


def cannot_be_loaded(model: str, error: Exception) -> ConfigError:
    """Return the refusal of a model whose loading raised an error."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ConfigError(
        f"encoder={model!r} cannot be loaded: {reason} (give a name on the Hugging Face hub, a "
        "folder that holds a model, or a model)"
    )


def load_model_config(model: str) -> PretrainedConfig:
    """Return a model's configuration; see :func:`load_model`."""
    config: PretrainedConfig = _from_files(AutoConfig, model, **_arguments(model, _CONFIG))
    return config


def load_plain_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model's files; see :func:`load_model`."""
    tokenizer: PreTrainedTokenizerBase
    tokenizer = _from_files(AutoTokenizer, model, **_arguments(model, _TOKENIZER))
    return tokenizer


def _from_files(auto_class: Any, model: str, **arguments: Any) -> Any:
    return auto_class.from_pretrained(
        os.path.expanduser(model), subfolder=transformer_folder(model), **arguments
    )


def _arguments(
    model: str, names: tuple[str, str], without: set[str] | None = None
) -> dict[str, Any]:
    """Return arguments that the file names, under a current or an older name."""
    try:
        content = read_transformer_file(model)
    except UnknownFile:
        return {}
    if not isinstance(content, Mapping):
        return {}
    name = next((name for name in reversed(names) if content.get(name) is not None), None)
    if name is None:
        return {}
    given = content[name]
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigError(
            f"{model}, {TRANSFORMER_FILE}: {name}={str(given)[:80]!r}: expected a mapping of "
            "arguments (correct the file)"
        )
    return {key: value for key, value in given.items() if key not in _NEVER | (without or set())}
