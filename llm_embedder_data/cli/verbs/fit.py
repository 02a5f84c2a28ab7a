"""``fit``: train a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from llm_embedder_data.cli.measured import check_wanted_metrics, finish, show_metrics
from llm_embedder_data.cli.metrics_file import unrounded
from llm_embedder_data.cli.refusals import is_refusal
from llm_embedder_data.cli.run_file import ask_for_rankings, write_runs
from llm_embedder_data.cli.run_objects import build_run, without_folder_warning
from llm_embedder_data.cli.showing import show
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.cross_encoder import CrossEncoder


def fit(cfg: DictConfig) -> float | None:
    """Train a model, and measure it before and after; return the value of ``optimized_metric``.

    Raises:
        ConfigError: a setting, a checkpoint or an output file cannot be used.
        DataError: the data cannot be read.
    """
    has_eval_data = cfg.data.get("eval_data") is not None
    is_dry_run = bool(cfg.trainer.get("fast_dev_run"))
    check_wanted_metrics(cfg, has_eval_data)
    trainer, model, datamodule = build_run(cfg, "fit")
    ask_for_rankings(cfg, model)
    before: Mapping[str, Any] = {}
    if cfg.validate_before and has_eval_data and not is_dry_run and trainer.limit_val_batches:
        before = trainer.validate(model, datamodule=datamodule, verbose=False)[0]
    trainer.callbacks.append(last := _LastValidation())  # type: ignore[attr-defined]
    with _noting_trained_steps(trainer), without_folder_warning(trainer):
        trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        is_measured = last.step == trainer.global_step or not trainer.limit_val_batches
        if has_eval_data and not is_measured and not is_dry_run and not trainer.interrupted:
            logged |= trainer.validate(model, datamodule=datamodule, verbose=False)[0]
    logged = unrounded(logged, model)
    after = {name: value for name, value in logged.items() if name.startswith("val/")}
    show_metrics(before, after)
    checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "")
    if checkpoint:
        show(f"Checkpoint: {checkpoint}  (go on from it: the same command with ckpt_path=...)")
    if cfg.export and hasattr(model, "export") and not is_dry_run:
        folder = os.path.join(cfg.output_dir, "encoder")
        # Replace the folder of an earlier run in the same output_dir, as its checkpoints are.
        ours = {"overwrite": True} if isinstance(model, BiEncoder | CrossEncoder) else {}
        with _noting_trained_steps(trainer):
            if trainer.is_global_zero:
                model.export(folder, datamodule.tokenizer, **ours)
        show(f"Encoder:    {folder}  (sentence-transformers loads it)")
    with _noting_trained_steps(trainer):
        write_runs(cfg, trainer, model)
        return finish(cfg, trainer, after, logged)


class _LastValidation(Callback):
    """Records the step of the last validation.

    If ``max_steps`` or ``max_time`` ends training within an epoch, Lightning does not validate at
    the end. The logged metrics are then those of an earlier step, or there are none.
    """

    step: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.step = trainer.global_step


@contextmanager
def _noting_trained_steps(trainer: Trainer) -> Iterator[None]:
    """Add a note to errors that are raised after training steps, so that the folder is kept."""
    try:
        yield
    except Exception as error:
        if trainer.global_step and is_refusal(error):
            error.add_note(
                f"(after {trainer.global_step} steps; the checkpoints and logs so far are kept)"
            )
        raise
