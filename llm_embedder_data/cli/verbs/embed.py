"""``embed``: write the embeddings of a corpus, or of queries, to an embedding store."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, get_args

from hydra.core.hydra_config import HydraConfig
from lightning.fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.named_encoder import build_embedder, build_encoder, launch
from llm_embedder_data.cli.output_files import store_folder
from llm_embedder_data.cli.run_objects import build_retrieval_data
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.datamodule.open_data.texts_to_embed import TextKind
from llm_embedder_data.mining.store_filling import Share, fill_store
from llm_embedder_data.mining.store_fingerprint import StoredType
from llm_embedder_data.mining.text_embedder import TextEmbedder

_KINDS: tuple[TextKind, ...] = get_args(TextKind)


def embed(cfg: DictConfig) -> None:
    """Embed the texts of ``data``, with a store for each data set and kind of texts.

    Raises:
        ConfigError: a setting cannot be used, or there is no data.
        DataError: the data cannot be read, or the folder cannot be written.
    """
    root, kinds = store_folder("out", cfg.out), _checked_kinds(cfg)
    share = None if cfg.shard is None else Share.parse(cfg.shard)
    check_choice(cfg.dtype, StoredType, "dtype")
    batch_tokens = _checked_batch_tokens(cfg.batch_tokens)
    fabric = launch(cfg)
    datamodule = _open_data(cfg, kinds, fabric)
    encoder = build_encoder(cfg, datamodule, fabric.device)
    are_shown = False
    for kind in kinds:
        for name, prompted in datamodule.texts_to_embed(kind).items():
            embedder = build_embedder(cfg, encoder, datamodule, prompted, batch_tokens)
            if not are_shown:
                show("\n".join(_choices(cfg, embedder, fabric.world_size)))
                are_shown = True
            title = f"{kind} {one_line(name)}"
            show(f"{title}: {_treatment(kind, embedder, datamodule.recipe.origin)}")
            filled = fill_store(
                root,
                prompted.texts,
                embedder,
                dtype=cfg.dtype,
                share=share,
                command=_command(),
                show_progress=True,
            )
            show(f"{title}: {filled.described()}")


def _checked_kinds(cfg: DictConfig) -> list[TextKind]:
    """Return the kinds of texts to embed.

    Raises:
        ConfigError: a kind is unknown or has no data, or there are no data at all.
    """
    given = OmegaConf.to_container(cfg.texts) if OmegaConf.is_list(cfg.texts) else cfg.texts
    named = [kind for kind in _KINDS if cfg.data.get(kind) is not None]
    if given is None:
        if not named:
            names = ", ".join(f"data.{kind}" for kind in _KINDS)
            raise ConfigError(f"there are no texts to embed (name one of {names})")
        return named
    wanted = given if isinstance(given, list) else [given]
    if not wanted:
        raise ConfigError(f"texts=[]: expected one or more of {', '.join(_KINDS)}, or null for all")
    for kind in wanted:
        check_choice(kind, TextKind, "texts")
        if kind not in named:
            raise ConfigError(f"texts={kind}: data.{kind} is null (name the data)")
    return [kind for kind in _KINDS if kind in wanted]


def _checked_batch_tokens(value: Any) -> int | None:
    if value == "auto":
        return None
    if type(value) is not int or value < 1:
        raise ConfigError(f"batch_tokens={value!r}: expected a whole number of at least 1, or auto")
    return value


def _open_data(cfg: DictConfig, kinds: list[TextKind], fabric: Fabric) -> RetrievalDataModule:
    """Return the data module, set up on every rank. One rank of each machine writes the caches."""
    if "train_data" not in kinds:
        # Keep eval_data, because the prompt of a corpus depends on the tasks of its eval sets.
        cfg.data.train_data = None
    cfg.data.batch_size = 1  # nothing is trained, so no data set is too small
    datamodule = build_retrieval_data(cfg)
    if fabric.local_rank == 0:
        datamodule.prepare_data()
    fabric.barrier()
    datamodule.setup(None if "train_data" in kinds else "predict")
    return datamodule


def _choices(cfg: DictConfig, embedder: TextEmbedder, n_ranks: int) -> Iterator[str]:
    ranks = f" on each of {n_ranks} ranks" if n_ranks > 1 else ""
    yield (
        f"device: {embedder.device.type}{ranks}, computing in {embedder.precision} "
        "(trainer.accelerator, trainer.devices and trainer.precision change them)"
    )
    yield f"vectors: {cfg.dtype} (dtype changes it)"
    yield (
        f"batches: {embedder.batch_tokens:,} tokens, {embedder.layout} (batch_tokens and "
        "data.layout change them)"
    )


def _treatment(kind: TextKind, embedder: TextEmbedder, origin: str) -> str:
    side = "key" if kind == "corpus" else "query"
    prompt = f"prompt {embedder.prompt!r}" if embedder.prompt else "no prompt"
    return (
        f"{prompt} ({one_line(origin)}; data.recipe changes it), at most {embedder.max_length} "
        f"tokens of a text (data.{side}_max_length changes it)"
    )


def _command() -> str | None:
    """Return this command without ``shard``: it fills the whole store. None outside a job."""
    if not HydraConfig.initialized():
        return None
    overrides = HydraConfig.get().overrides.task
    kept = [text for text in overrides if text.lstrip("+").partition("=")[0] != "shard"]
    return shlex.join(["llm-embedder-data", "embed", *kept])
