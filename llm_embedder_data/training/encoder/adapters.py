"""LoRA and other adapters of the package peft: few weights are trained, the encoder's are frozen.

Hu et al., 2021, "LoRA" (arXiv:2106.09685).
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_info
from omegaconf import OmegaConf
from torch import Tensor, nn
from transformers import PreTrainedModel

from llm_embedder_data.config.argument_types import check_types_of
from llm_embedder_data.config.instantiating import check_arguments_of
from llm_embedder_data.config.pretrained import load_encoder_model
from llm_embedder_data.core.errors import ConfigError

# The entry of a checkpoint with the digest of the frozen weights that it leaves out.
FROZEN_DIGEST = "frozen_weights_digest"
# About how many values of each frozen weight go into the digest: all of them would take long.
_SAMPLED = 256


def has_adapters(encoder: nn.Module) -> bool:
    """Return whether an encoder is a PeftModel."""
    return hasattr(encoder, "get_base_model") and hasattr(encoder, "peft_config")


def base_of(encoder: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside a PeftModel, or the encoder itself."""
    base = cast(Any, encoder).get_base_model() if has_adapters(encoder) else encoder
    return cast(PreTrainedModel, base)


def plain_settings(lora: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument ``lora`` as plain Python, without OmegaConf's types.

    Raises:
        ConfigError: ``lora`` is not a mapping.
    """
    plain: Any = OmegaConf.to_container(lora, resolve=True) if OmegaConf.is_config(lora) else lora
    if not isinstance(plain, Mapping):
        raise ConfigError(
            f"model.lora={plain!r}: expected arguments of peft.LoraConfig, such as {{r: 16}}, or "
            "null"
        )
    return dict(plain)


def with_lora(encoder: PreTrainedModel, settings: Mapping[str, Any]) -> PreTrainedModel:
    """Return a PeftModel around an encoder: its LoRA adapters are trainable, the rest is frozen.

    Args:
        encoder: a transformers model.
        settings: arguments of ``peft.LoraConfig``, such as ``r`` and ``lora_alpha``. Without
            ``target_modules`` all linear layers get adapters.

    Raises:
        ConfigError: peft is not installed, refuses the settings, or the encoder has adapters
            already.
    """
    peft = _peft("model.lora")
    if has_adapters(encoder):
        raise ConfigError(
            "model.lora: the encoder is a PeftModel already (set model.lora to null, or give its "
            "base model)"
        )
    check_arguments_of(peft.LoraConfig, settings, "model.lora")
    check_types_of(peft.LoraConfig, settings, "model.lora")
    chosen = {"target_modules": "all-linear", "task_type": "FEATURE_EXTRACTION", **settings}
    try:
        with warnings.catch_warnings():
            # peft 0.21 uses a name that transformers 5.23 has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = peft.get_peft_model(encoder, peft.LoraConfig(**chosen))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"model.lora={dict(settings)}: {error} (expected arguments of peft.LoraConfig)"
        ) from error
    n_trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    n_all = sum(p.numel() for p in adapted.parameters())
    rank_zero_info(
        f"LoRA: {n_trained:,} of {n_all:,} weights are trained, target_modules: "
        f"{chosen['target_modules']} (model.lora.target_modules changes them)"
    )
    return cast(PreTrainedModel, adapted)


def with_saved_adapters(folder: Path) -> PreTrainedModel:
    """Load a PeftModel from a folder of saved adapters, with the adapters trainable.

    Args:
        folder: a folder with an ``adapter_config.json``, which names the base model.

    Raises:
        ConfigError: peft is not installed.
    """
    peft = _peft(f"encoder={folder} (a folder of adapters)")
    base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
    model = load_encoder_model(base)[0]
    adapted = peft.PeftModel.from_pretrained(model, folder, is_trainable=True)
    return cast(PreTrainedModel, adapted)


def merged(encoder: nn.Module) -> PreTrainedModel:
    """Return a transformers model without adapters that gives the same embeddings.

    For a PeftModel this is a copy whose weights include the adapters, so it needs memory for a
    second encoder. Any other encoder is returned as it is.
    """
    if not has_adapters(encoder):
        return cast(PreTrainedModel, encoder)
    whole = cast(Any, copy.deepcopy(encoder)).merge_and_unload(safe_merge=True)
    return cast(PreTrainedModel, whole)


def without_frozen(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state dict without its frozen weights."""
    frozen = _frozen(module)
    return {name: value for name, value in state.items() if name not in frozen}


def with_frozen(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return a state dict with a module's frozen weights added where it lacks them."""
    return {**_frozen(module), **state}


def frozen_digest(module: nn.Module) -> str:
    """Return a digest of the frozen weights: names, shapes, and a sample of the values."""
    digest = hashlib.sha256()
    for name, value in sorted(_frozen(module).items()):
        flat = value.detach().flatten()
        step = max(flat.numel() // _SAMPLED, 1)
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(flat[::step].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


def _peft(what: str) -> Any:
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            f'{what} needs the package peft (pip install "llm_embedder_data[lora]")'
        ) from error
    return peft


def _frozen(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach() for name, value in module.named_parameters() if not value.requires_grad
    }
