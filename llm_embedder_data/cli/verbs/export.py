"""``export``: an encoder, or the model of a checkpoint, as a sentence-transformers folder."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_content, check_checkpoint_file
from llm_embedder_data.cli.output_files import check_flag
from llm_embedder_data.cli.run_objects import build_data, build_model, overridden_keys
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.addresses import check_on_this_machine
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.cross_encoder import CrossEncoder
from llm_embedder_data.training.export.encoder_export import check_target
from llm_embedder_data.training.export.run_record import RunRecord


def export(cfg: DictConfig) -> None:
    """Write the model of ``ckpt_path``, or the untrained ``encoder``, to the folder ``out``.

    Raises:
        ConfigError: neither is named; the folder must not be replaced; or the written folder, when
            it is loaded, gives other token ids, vectors or scores.
    """
    out = _checked_out(cfg)
    if cfg.ckpt_path is None and cfg.encoder is None:
        raise ConfigError(
            "encoder=null, ckpt_path=null: nothing to export (name an encoder, or a checkpoint "
            "that fit wrote)"
        )
    if cfg.ckpt_path is None:
        datamodule = build_data(cfg)
        model, run = build_model(cfg), RunRecord()
    else:
        checkpoint = _read(cfg.ckpt_path)
        model = _model_of(checkpoint, cfg)
        datamodule, run = _data_of(checkpoint, cfg), RunRecord.of_checkpoint(checkpoint)
    length = cfg.max_length
    if length is None and cfg.ckpt_path is None and not _given_data(cfg):
        length = model.longest_input(datamodule.tokenizer)
    model.export(
        out,
        datamodule.tokenizer,
        datamodule=datamodule,
        max_length=length,
        run=run,
        overwrite=cfg.overwrite,
        check=cfg.check,
    )
    show(f"Exported: {one_line(out)}  ({_reader(model)} loads it)")


def _checked_out(cfg: DictConfig) -> Path:
    for name in ("overwrite", "check"):
        check_flag(name, cfg[name])
    length = cfg.max_length
    if length is not None and (type(length) is not int or length < 1):
        raise ConfigError(f"max_length={length!r}: expected a whole number of at least 1, or null")
    if not isinstance(cfg.out, str) or not cfg.out.strip():
        raise ConfigError(f"out={cfg.out!r}: expected a folder to write to")
    check_on_this_machine("out", cfg.out)
    out = with_home(cfg.out)
    _check_holds_no_input(out, cfg)
    check_target(out, overwrite=cfg.overwrite)
    return out


def _check_holds_no_input(out: Path, cfg: DictConfig) -> None:
    """Refuse a folder that is or holds what is exported: to replace it would delete that."""
    for setting in ("encoder", "ckpt_path"):
        if cfg[setting] is None:
            continue
        source = Path(os.path.realpath(os.path.expanduser(str(cfg[setting]))))
        if os.path.exists(source) and source.is_relative_to(os.path.realpath(out)):
            raise ConfigError(
                f"out={cfg.out!r} is or holds {setting}={cfg[setting]!r} (name another folder)"
            )


def _read(path: Any) -> Mapping[str, Any]:
    """Return a checkpoint with its tensors on the meta device."""
    check_checkpoint_file(path, "export")
    if os.path.isdir(path):
        raise ConfigError(
            f"ckpt_path={path!r} is a sharded checkpoint (make one file of it: python -m "
            "lightning.pytorch.utilities.consolidate_checkpoint)"
        )
    check_checkpoint_content(path, "export")
    try:
        return torch.load(path, map_location="meta", mmap=True, weights_only=True)  # type: ignore[no-any-return]
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"ckpt_path={path!r} holds objects besides tensors and plain values, so it is not read "
            "here (load it in Python, and call the model's export)"
        ) from error


def _model_of(checkpoint: Mapping[str, Any], cfg: DictConfig) -> Any:
    settings = checkpoint.get("hyper_parameters", {})
    kinds: dict[str, type[BiEncoder | CrossEncoder]] = {
        "pooling": BiEncoder,
        "distillation": CrossEncoder,
    }
    kind = next((kind for name, kind in kinds.items() if name in settings), None)
    if kind is None:
        raise ConfigError(
            f"ckpt_path={cfg.ckpt_path!r} is of neither a BiEncoder nor a CrossEncoder (load it in "
            "Python, and save its encoder there)"
        )
    if cfg.encoder is None and "encoder" not in settings:
        raise ConfigError(
            f"ckpt_path={cfg.ckpt_path!r} does not name its encoder, which was given as an object "
            "(give encoder=...)"
        )
    encoder = settings.get("encoder") if cfg.encoder is None else cfg.encoder
    given = {} if cfg.encoder is None else {"encoder": encoder}
    try:
        return kind.load_from_checkpoint(cfg.ckpt_path, map_location="cpu", **given)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"ckpt_path={cfg.ckpt_path!r}: its encoder {encoder!r} cannot be loaded with its "
            f"weights: {_shortened(error)} (give encoder=...)"
        ) from error


def _shortened(error: Exception) -> str:
    """Return an error's message on a line; that of torch may list all weights, and is cut."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _data_of(checkpoint: Mapping[str, Any], cfg: DictConfig) -> Any:
    """Return the data module of a checkpoint; settings on the command line replace its settings."""
    if RetrievalDataModule.CHECKPOINT_HYPER_PARAMS_KEY not in checkpoint:
        if cfg.encoder is None:  # trained with other loaders: the encoder's own tokenizer
            cfg.encoder = checkpoint["hyper_parameters"]["encoder"]
        return build_data(cfg)
    given = _given_data(cfg)
    if cfg.encoder is not None:
        given.setdefault("tokenizer", cfg.encoder)
    return RetrievalDataModule.load_from_checkpoint(cfg.ckpt_path, map_location="cpu", **given)


def _given_data(cfg: DictConfig) -> dict[str, Any]:
    """Return the data's settings on the command line."""
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    keys = overridden_keys()
    names = {key.split(".")[1] for key in keys if key.startswith("data.")}
    names |= {"recipe"} & keys
    return {name: data[name] for name in names if name in data}


def _reader(model: Any) -> str:
    kind = "CrossEncoder" if isinstance(model, CrossEncoder) else "SentenceTransformer"
    return f"sentence-transformers' {kind}"
