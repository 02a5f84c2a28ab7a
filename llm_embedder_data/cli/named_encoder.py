"""An encoder that the console names, without a trainer, on the devices of ``trainer``."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningModule
from omegaconf import DictConfig

from llm_embedder_data.cli.checkpoint_files import (
    check_checkpoint_content,
    check_checkpoint_file,
    check_checkpoint_fits,
)
from llm_embedder_data.cli.run_objects import node_of
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.mining.embeddable_texts import PromptedTexts
from llm_embedder_data.mining.text_embedder import Precision, TextEmbedder
from llm_embedder_data.training.bi_encoder import BiEncoder

# What trainer.precision may be, and what it means.
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
    """Start the ranks that ``trainer.devices`` asks for, each on its device, and join their group.

    Ranks beside the first run the command line again, as those of a Trainer do.
    """
    trainer = cfg.trainer
    try:
        fabric = Fabric(
            accelerator=trainer.accelerator, devices=trainer.devices, num_nodes=trainer.num_nodes
        )
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"trainer.accelerator, trainer.devices: {reason}") from error
    fabric.launch()
    return fabric


def build_encoder(cfg: DictConfig, datamodule: RetrievalDataModule, device: Any) -> BiEncoder:
    """Build the encoder that ``model`` and ``encoder`` describe, with the weights of ``ckpt_path``.

    Args:
        cfg: of the run.
        datamodule: whose texts it embeds; its lengths and prompts are checked.
        device: to compute on.

    Raises:
        ConfigError: a setting, or a checkpoint, that cannot be used.
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


def build_embedder(
    cfg: DictConfig,
    encoder: BiEncoder,
    datamodule: RetrievalDataModule,
    prompted: PromptedTexts,
    batch_tokens: int | None = None,
) -> TextEmbedder:
    """Return what embeds some texts, with the settings of ``data`` and ``trainer.precision``.

    Args:
        cfg: of the run.
        encoder: on its device.
        datamodule: that the texts are from.
        prompted: the texts' prompt and length.
        batch_tokens: most tokens of a batch; None: a number that suits the device.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    precision = _PRECISIONS.get(str(cfg.trainer.precision))
    if precision is None:
        raise ConfigError(
            f"trainer.precision={cfg.trainer.precision!r}: embeddings are computed in 32-true, "
            "bf16-mixed or 16-mixed"
        )
    return TextEmbedder(
        encoder,
        datamodule.tokenizer,
        prompt=prompted.prompt,
        max_length=prompted.max_length,
        layout=cfg.data.layout,
        batch_tokens=batch_tokens,
        precision=precision,
        pad_to_multiple_of=cfg.data.pad_to_multiple_of,
        chunk_size=cfg.data.chunk_size,
    )
