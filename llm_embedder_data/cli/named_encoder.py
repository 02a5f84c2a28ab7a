"""Building an encoder from the configuration to embed texts without a Trainer."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.checkpoint_files import (
    check_checkpoint_content,
    check_checkpoint_file,
    check_checkpoint_fits,
)
from llm_embedder_data.cli.run_objects import node_of
from llm_embedder_data.config.argument_types import check_types_of
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.mining.embeddable_texts import PromptedTexts
from llm_embedder_data.mining.text_embedder import Precision, TextEmbedder
from llm_embedder_data.training.bi_encoder import BiEncoder

# The allowed values of trainer.precision, and the precision that each stands for.
_PRECISIONS: dict[str, Precision] = {
    "None": "32-true",
    "32": "32-true",
    "32-true": "32-true",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
}


def launch(cfg: DictConfig) -> Fabric:
    """Start a rank on each of ``trainer.devices``, and return this rank's Fabric.

    Fabric starts the other ranks by running the command line again, as a Trainer does.

    Raises:
        ConfigError: there are no such devices.
    """
    given: dict[str, Any] = {}
    for name in ("accelerator", "devices", "num_nodes"):
        value = cfg.trainer[name]
        given[name] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    check_types_of(Fabric, given, "trainer")
    try:
        fabric = Fabric(**given)
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"trainer.accelerator, trainer.devices: {reason}") from error
    fabric.launch()
    return fabric


def build_encoder(cfg: DictConfig, datamodule: RetrievalDataModule, device: Any) -> BiEncoder:
    """Build the encoder that ``model`` and ``encoder`` describe, with the weights of ``ckpt_path``.

    Args:
        cfg: the verb's configuration.
        datamodule: the data module of the texts. Its lengths and prompts are checked against the
            encoder.
        device: the device to move the encoder to.

    Raises:
        ConfigError: a setting or a checkpoint cannot be used.
    """
    path = cfg.ckpt_path
    check_checkpoint_file(path, "embed")
    saved = check_checkpoint_content(path, "embed")
    model = build(node_of(cfg, "model", LightningModule), LightningModule, "model")
    if not isinstance(model, BiEncoder):
        raise ConfigError(
            f"model._target_={cfg.model._target_!r}: expected BiEncoder or a subclass of it, which "
            "embeds texts without a trainer"
        )
    check_checkpoint_fits(path, saved, model)
    if path is not None:
        if not saved:
            raise ConfigError(
                f"ckpt_path={path!r}: expected a file that torch.load reads with weights_only "
                "(export the encoder from this checkpoint, and give its folder as encoder=...)"
            )
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        model.load_state_dict(content["state_dict"])
    model.check_data_module(datamodule)
    return model.to(device)


def embedding_precision(cfg: DictConfig) -> Precision:
    """Return the precision that ``trainer.precision`` sets for embeddings.

    Raises:
        ConfigError: embeddings are not computed in this precision.
    """
    precision = _PRECISIONS.get(str(cfg.trainer.precision))
    if precision is None:
        raise ConfigError(
            f"trainer.precision={cfg.trainer.precision!r}: embeddings are computed in 32-true, "
            "bf16-mixed or 16-mixed"
        )
    return precision


def build_embedder(
    cfg: DictConfig,
    encoder: BiEncoder,
    datamodule: RetrievalDataModule,
    prompted: PromptedTexts,
    batch_tokens: int | None = None,
) -> TextEmbedder:
    """Return an embedder of some texts, with the settings of ``data`` and ``trainer.precision``.

    Args:
        cfg: the verb's configuration.
        encoder: the encoder, on its device.
        datamodule: the data module of the texts.
        prompted: the texts, with their prompt and length limit.
        batch_tokens: limit of a batch in tokens; None: the default for the device.

    Raises:
        ConfigError: a setting cannot be used.
    """
    return TextEmbedder(
        encoder,
        datamodule.tokenizer,
        prompt=prompted.prompt,
        max_length=prompted.max_length,
        layout=cfg.data.layout,
        batch_tokens=batch_tokens,
        precision=embedding_precision(cfg),
        pad_to_multiple_of=cfg.data.pad_to_multiple_of,
        chunk_size=cfg.data.chunk_size,
    )
