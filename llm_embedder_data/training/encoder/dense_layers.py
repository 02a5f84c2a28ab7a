"""Dense layers after the pooling, as models of sentence-transformers may have them.

Sentence-T5, GTR, LaBSE and EmbeddingGemma have such layers. A layer computes
``activation(x W^T + b)``; with ``use_residual``, its input is added, projected if the sizes differ.
Files and names are those of sentence-transformers' module Dense.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llm_embedder_data.config.model_files import UnknownFile, find_model_file, read_model_json
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import cause

_SETTINGS = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# sentence-transformers' default of the activation.
_TANH = "torch.nn.modules.activation.Tanh"
_INPUT = "sentence_embedding"


class DenseLayer(nn.Module):
    """A dense layer of a model.

    Args:
        config: the content of the layer's configuration file.

    Attributes:
        config: the same.

    Raises:
        ConfigError: a value cannot be used.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        n_in, n_out = (_size(config, name) for name in ("in_features", "out_features"))
        for name in ("module_input_name", "module_output_name"):
            if config.get(name) not in (None, _INPUT):
                raise ConfigError(f"{name}={config[name]!r}: expected {_INPUT}")
        self.linear = nn.Linear(n_in, n_out, bias=bool(config.get("bias", True)))
        self.use_residual = bool(config.get("use_residual"))
        if self.use_residual and n_in != n_out:
            self.residual = nn.Linear(n_in, n_out, bias=False)
        self.activation = _activation(config.get("activation_function", _TANH))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return ``[N, out_features]`` for ``[N, in_features]``."""
        embeddings = embeddings.to(self.linear.weight.dtype)
        out = self.activation(self.linear(embeddings))
        if self.use_residual:
            out = out + (self.residual(embeddings) if hasattr(self, "residual") else embeddings)
        return cast(Tensor, out)


def load_dense_layers(model: str | None, folders: Sequence[str], width: int) -> nn.Sequential:
    """Return the dense layers of a model, float32.

    Args:
        model: a folder, or a name on the Hugging Face hub; None only without folders.
        folders: the folders of the layers inside the model's own folder, in order.
        width: number of values that the first layer gets.

    Raises:
        ConfigError: a file is missing or cannot be used, or the sizes do not fit.
    """
    layers: list[nn.Module] = []
    for folder in folders:
        assert model is not None
        try:
            layer = _load(model, folder, width)
        except (ConfigError, UnknownFile) as error:
            reason = str(error) or "its files are not cached, and the hub is out of reach"
            raise ConfigError(
                f"{model}: the dense layer {folder} cannot be loaded: {reason} (complete the "
                "folder, or give another encoder)"
            ) from cause(error)
        width = layer.linear.out_features
        layers.append(layer)
    return nn.Sequential(*layers)


def dense_settings(layers: nn.Sequential) -> list[dict[str, Any]]:
    """Return the settings of each layer, as its configuration file has them."""
    return [cast(DenseLayer, layer).config for layer in layers]


def save_dense_layers(layers: nn.Sequential, folders: Sequence[Path]) -> None:
    """Write the settings and weights of layers into existing folders, one a layer."""
    for layer, settings, folder in zip(layers, dense_settings(layers), folders, strict=True):
        text = json.dumps(settings, indent=2) + "\n"
        (folder / _SETTINGS).write_text(text, encoding="utf-8")
        weights = {name: value.contiguous().cpu() for name, value in layer.state_dict().items()}
        save_file(weights, folder / _WEIGHTS[0], {"format": "pt"})


def _load(model: str, folder: str, width: int) -> DenseLayer:
    config = read_model_json(model, f"{folder}/{_SETTINGS}")
    if not isinstance(config, Mapping):
        raise ConfigError(f"expected a mapping in {_SETTINGS}, found {str(config)[:80]}")
    layer = DenseLayer(config)
    if layer.linear.in_features != width:
        raise ConfigError(f"in_features={layer.linear.in_features}: the layer gets {width} values")
    found = [find_model_file(model, f"{folder}/{name}") for name in _WEIGHTS]
    path = next((path for path in found if path is not None), None)
    if path is None:
        raise ConfigError(f"it has no {' or '.join(_WEIGHTS)}")
    try:
        weights = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        layer.load_state_dict(weights)
    except Exception as error:  # each file format raises exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path.name}: {reason}") from error
    return layer.float()


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")
    return value


def _activation(name: Any) -> nn.Module:
    """Return the activation of a dotted name; only classes of ``torch.nn`` are allowed."""
    if name is None:
        return nn.Identity()
    package, _, kind = str(name).rpartition(".")
    found = getattr(nn, kind, None) if package.startswith("torch.nn") else None
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise ConfigError(
            f"activation_function={name!r}: expected a class of torch.nn, such as {_TANH}"
        )
    try:
        return found()
    except TypeError as error:
        raise ConfigError(f"activation_function={name!r}: it takes arguments") from error
