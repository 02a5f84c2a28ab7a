"""BiEncoder: an embedder that encodes queries and keys separately."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls
from llm_embedder_data.config.model_pooling import pooled
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.recipes import (
    AUTO,
    ModelSettings,
    Recipe,
    TaskSettings,
    load_recipe,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.training.batch_kinds import check_gives_sides
from llm_embedder_data.training.data_module_protocols import (
    GivesConventions,
    GivesLongestInputs,
    GivesTaskSettings,
)
from llm_embedder_data.training.evaluating import evaluating, on_device
from llm_embedder_data.training.evaluator import RetrievalEvaluator
from llm_embedder_data.training.export import EncoderExport, longest_of_model
from llm_embedder_data.training.optimization import Schedule, adamw, warmup_schedule
from llm_embedder_data.training.packed_attention import AttentionSwitch, position_ids_for
from llm_embedder_data.training.pooling import pool, pool_packed, prompt_length_of_calls
from llm_embedder_data.training.position_limits import check_positions
from llm_embedder_data.training.retrieval_loss import competing_keys, mean_loss
from llm_embedder_data.training.run_record import RunRecord
from llm_embedder_data.training.search import rerank_order
from llm_embedder_data.training.settings import (
    DEFAULTS,
    LossSettings,
    check_model_arguments,
    merge_loss_settings,
)

Pooling = PoolingMode | Literal["auto"]
Similarity = SimilarityName | Literal["auto"]

# A batch of RetrievalDataModule, for training or evaluation; docs/batch-keys.md lists its entries.
RetrievalBatch = Mapping[str, Any]
# Tokenized texts: padded or packed in one mapping, or chunked in a list of mappings.
TokenizedTexts = Mapping[str, Any] | Sequence[Mapping[str, Any]]

logger = logging.getLogger(__name__)


class BiEncoder(lightning.LightningModule):
    """Embeds queries and keys with one encoder, trained by a contrastive and a distillation loss.

    It trains on the batches of RetrievalDataModule (docs/batch-keys.md). Each rank scores its own
    queries against the keys of all ranks, leaving out known positives and padded keys. The gradient
    that data-parallel training averages is exactly that of the mean loss over the global batch, for
    any number of ranks, if all ranks have the same number of queries and of keys per query.

    Evaluation is exact retrieval from a corpus that the ranks encode in disjoint shards; see
    :class:`~llm_embedder_data.training.evaluator.RetrievalEvaluator`.

    Only ``encoder`` is trained. Its pooler gets no gradient, so it is set aside until export.

    Args:
        encoder: a name or path for AutoModel, loaded as float32; or a model, without its pooler.
            Checkpoints do not record a model: pass it again to ``load_from_checkpoint``.
        pooling: how token vectors become the embedding of a text: its first token (``cls``), the
            ``mean`` of its tokens, or its ``last`` token. ``auto``: as the model's own files say,
            else as published for the model, else ``last`` for a decoder and ``cls`` for an
            encoder. The choice is logged.
        similarity: ``cos``, or ``dot`` for the inner product of unnormalized embeddings. ``auto``:
            as the model's files say, else ``cos``.
        temperature: divides the cosine; not used with ``dot``. For this argument, the next four
            and ``learning_rate``, None means the recipe's value, else that of
            :data:`~llm_embedder_data.training.settings.DEFAULTS`.
        contrastive_weight: weight of the contrastive loss next to distillation; 0: distillation
            only.
        distill_weight: weight of the distillation loss; 0: contrastive loss only. Queries without
            teacher scores always use the contrastive loss alone.
        teacher_temperature: divides the teacher's scores.
        student_temperature: divides the model's scores in the distillation loss.
        gather_negatives: whether the keys of other ranks are negatives too.
        recipe: name, path, mapping or Recipe that replaces the data module's. Its settings for the
            batch's task, then for the model, apply where an argument is None. It also decides
            whether distillation is list-wise (``stable_distill``). None: the data module's
            settings.
        learning_rate: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW, except for biases and norms.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0, [0, 1].
        schedule: how the learning rate falls to 0 after the warmup, or ``constant``.
        cutoffs: the k of MRR@k, Recall@k and nDCG@k.
        gradient_checkpointing: recompute activations in the backward pass to save memory.

    Raises:
        ConfigError: an argument is invalid; or ``pooling`` is ``auto`` and the model's files ask
            for modules other than pooling and normalization.
    """

    def __init__(
        self,
        encoder: str | os.PathLike[str] | PreTrainedModel,
        *,
        pooling: Pooling = "auto",
        similarity: Similarity = "auto",
        temperature: float | None = None,
        contrastive_weight: float | None = None,
        distill_weight: float | None = None,
        teacher_temperature: float | None = None,
        student_temperature: float | None = None,
        gather_negatives: bool = True,
        recipe: Mapping[str, Any] | Recipe | str | os.PathLike[str] | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        warmup_ratio: float = 0.1,
        schedule: Schedule = "linear",
        cutoffs: Sequence[int] = (1, 5, 10, 100),
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_choice(pooling, [*get_args(PoolingMode), "auto"], "model.pooling")
        check_choice(similarity, [*get_args(SimilarityName), "auto"], "model.similarity")
        check_choice(schedule, Schedule, "model.schedule")
        # save_hyperparameters reads these local variables. They must be plain Python, not the lists
        # and mappings of OmegaConf: torch loads nothing else from a checkpoint by default.
        cutoffs = tuple(cutoffs)
        self._recipe = None if recipe is None else load_recipe(recipe)
        if self._recipe is not None:
            is_name = isinstance(recipe, str | os.PathLike)
            recipe = os.fspath(recipe) if is_name else self._recipe.to_mapping()  # type: ignore[arg-type]
        if not isinstance(encoder, nn.Module):
            encoder = os.fspath(encoder)
        self.save_hyperparameters(ignore=["encoder"] if isinstance(encoder, nn.Module) else [])

        self._given = ModelSettings(
            temperature=temperature,
            learning_rate=learning_rate,
            contrastive_weight=contrastive_weight,
            distill_weight=distill_weight,
            teacher_temperature=teacher_temperature,
            student_temperature=student_temperature,
        )
        self.gather_negatives = gather_negatives
        self.weight_decay = weight_decay
        self.warmup_ratio = warmup_ratio
        self.schedule = schedule
        self.cutoffs = cutoffs
        check_model_arguments(self._given, warmup_ratio=warmup_ratio, cutoffs=cutoffs)

        self.encoder = _loaded(encoder)
        self._model_name = encoder if isinstance(encoder, str) else encoder.name_or_path or None
        self._choose_pooling(pooling, similarity)
        # In a tuple, so that torch does not register it as a submodule.
        self._pooler = (getattr(self.encoder, "pooler", None),)
        if self._pooler[0] is not None:
            self.encoder.pooler = None  # type: ignore[assignment]
        if gradient_checkpointing:
            enable = self.encoder.gradient_checkpointing_enable
            enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
        self._warned: set[str] = set()
        self._attention = AttentionSwitch(self.encoder)
        self.train()  # from_pretrained returns it in eval mode, and Lightning 2.6 keeps modes
        self._evaluator = RetrievalEvaluator(cutoffs)

    def _choose_pooling(self, pooling: Pooling, similarity: Similarity) -> None:
        chosen = pooled(
            self._model_name,
            self.encoder.config,
            pooling=None if pooling == "auto" else pooling,
            similarity=None if similarity == "auto" else similarity,
        )
        self.pooling: PoolingMode = chosen.pooling
        self.similarity: SimilarityName = chosen.similarity
        self._include_prompt = chosen.include_prompt
        rank_zero_info(
            f"pooling: {chosen.pooling}, similarity: {chosen.similarity} ({chosen.origin}; "
            "model.pooling and model.similarity change them)"
        )

    def setup(self, stage: str) -> None:
        """Check the data module against the encoder, and log the settings of a fit.

        Raises:
            ConfigError: texts can be longer than the encoder's positions, a file of the model is
                invalid, or the batches hold pairs for a cross-encoder.
        """
        self._warned.clear()  # of an earlier run
        check_gives_sides(self._datamodule)
        if isinstance(datamodule := self._datamodule, GivesLongestInputs):
            for message in check_positions(self.encoder, datamodule.longest_inputs()):
                self._warn_once(message)
        if stage == "fit":
            settings = self.model_settings
            rank_zero_info(
                f"temperature: {settings.temperature}, learning rate: {settings.learning_rate} "
                "(model.temperature and model.learning_rate change them)"
            )
        if isinstance(datamodule, GivesConventions) and datamodule.recipe.name == AUTO:
            expected = with_conventions(Recipe(AUTO, {}), self._model_name)
            if expected.instructions != datamodule.recipe.instructions:
                rank_zero_warn(
                    f"the encoder {self._model_name} has other prompts ({expected.origin}) than "
                    f"those before the data module's texts ({datamodule.recipe.origin}): give both "
                    "the same model, or name a recipe in data.recipe"
                )

    # Settings

    @property
    def model_settings(self) -> ModelSettings:
        """The model-wide settings: each is the argument, else the recipe's, else the default."""
        datamodule, from_recipe = self._datamodule, ModelSettings()
        if self._recipe is not None:
            from_recipe = self._recipe.model
        elif isinstance(datamodule, GivesConventions):
            from_recipe = datamodule.model_settings()
        return DEFAULTS | from_recipe | self._given

    def settings_of(self, task: str) -> LossSettings:
        """Return a task's loss settings.

        Each is the argument, else the recipe's for the task, else the recipe's for the model, else
        the default.
        """
        datamodule, of_task = self._datamodule, TaskSettings()
        if isinstance(datamodule, GivesTaskSettings):
            of_task = datamodule.task_settings(task)
        if self._recipe is not None:
            # Whether negatives are sorted is the data module's choice if the recipe has none.
            sorted_negatives = of_task.stable_distill
            of_task = self._recipe.settings(task)
            if of_task.stable_distill is None:
                of_task = replace(of_task, stable_distill=sorted_negatives)
        return merge_loss_settings(self.model_settings, of_task, self._given)

    @property
    def temperature(self) -> float:
        """The number that divides the cosine."""
        return cast(float, self.model_settings.temperature)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate of AdamW; Lightning's learning-rate finder sets it."""
        return cast(float, self.model_settings.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._given = replace(self._given, learning_rate=float(value))

    # Embeddings

    def encode(
        self,
        inputs: TokenizedTexts,
        inverse: Tensor | None = None,
        prompt_length: int | Tensor = 0,
    ) -> Tensor:
        """Embed tokenized texts.

        Args:
            inputs: texts in any layout: the tokenizer's output, int64 ``[N, L]`` each, padded on
                either side; a list of such chunks; or texts packed in one row.
            inverse: ``[N]`` int64, the row of each text, if chunks or unique keys reordered them.
            prompt_length: number of tokens at the start of each text that a mean leaves out; one
                number, or ``[N]`` int64.

        Returns:
            ``[N, D]`` float32, normalized if the similarity is the cosine.

        Raises:
            ConfigError: the texts are packed and the encoder would mix them.
        """
        calls = model_calls(inputs)
        lengths = prompt_length_of_calls(calls, inverse, prompt_length)
        embedding = torch.cat(
            [
                self._encode_chunk(chunk, length)
                for chunk, length in zip(calls, lengths, strict=True)
            ]
        )
        if self.similarity == "cos":
            embedding = F.normalize(embedding, dim=1)
        return embedding if inverse is None else embedding[inverse]

    def forward(self, inputs: TokenizedTexts, inverse: Tensor | None = None) -> Tensor:
        """Embed tokenized texts; see :meth:`encode`."""
        return self.encode(inputs, inverse)

    def _encode_chunk(self, inputs: Mapping[str, Any], prompt_length: int | Tensor) -> Tensor:
        packed = layout_of(inputs) == "packed"
        self._attention.set(packed)
        if not packed:
            hidden = self.encoder(**inputs).last_hidden_state  # [N, L, D]
            return pool(hidden.float(), inputs["attention_mask"], self.pooling, prompt_length)
        position_ids = position_ids_for(self.encoder, inputs["position_ids"])
        hidden = self.encoder(**{**inputs, "position_ids": position_ids}).last_hidden_state
        bounds = inputs["cu_seq_lens_q"]
        return pool_packed(hidden[0].float(), bounds, self.pooling, prompt_length)  # of [1, T, D]

    def _embed(self, batch: RetrievalBatch, side: str) -> Tensor:
        """Embed one side of a batch.

        Args:
            batch: a batch of the data module.
            side: ``query``, ``key`` or ``content``.

        Returns:
            ``[B, D]`` for ``query``; ``[B*G, D]`` for ``key``, with key g of query b in row
            ``b * G + g``; ``[n, D]`` for ``content``.
        """
        prompt_length: int | Tensor = 0
        if not self._include_prompt and self.pooling == "mean":
            if f"{side}_prompt_length" not in batch:
                raise ConfigError(
                    f"the encoder {self._model_name} leaves its prompt out of the mean, and the "
                    "batch does not say how long the prompt is (give the data module a tokenizer "
                    "of the same folder, or the collator prompt_lengths=True)"
                )
            prompt_length = batch[f"{side}_prompt_length"]
        return self.encode(batch[side], batch.get(f"{side}_inverse"), prompt_length)

    # Training

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Return the batch's loss; log this rank's as ``train/loss`` and ``train/loss/<task>``."""
        loss = self.loss(batch)
        n_queries = len(batch["key_mask"])
        # A progress bar reads its values at every step, which makes the host wait for the device.
        has_bar = self._trainer is not None and self._trainer.progress_bar_callback is not None
        # Not reduced over ranks: that would add a collective to each step.
        self.log("train/loss", loss, prog_bar=has_bar, batch_size=n_queries)
        self.log(f"train/loss/{one_line(batch['task'])}", loss, batch_size=n_queries)
        return loss

    def loss(self, batch: RetrievalBatch) -> Tensor:
        """Return the mean loss over the batch's queries, a scalar.

        All ranks must call this at the same step, with the same ``in_batch_negatives`` and the
        same shape of ``key_mask``.

        Raises:
            ConfigError: the batch holds pairs for a cross-encoder.
        """
        if "cross" in batch:
            raise ConfigError(
                "data.cross=True: the batch holds (query, key) pairs, and BiEncoder encodes query "
                "and key apart (set data.cross=false, or train a cross-encoder)"
            )
        query, key = self._embed(batch, "query"), self._embed(batch, "key")
        gathers = self.gather_negatives and batch["in_batch_negatives"] and self._num_replicas > 1
        competing = competing_keys(
            batch, key, rank=self.global_rank, all_gather=self.all_gather if gathers else None
        )
        # bfloat16 has 8 significant bits: a cosine divided by 0.01 would be off by 0.2.
        with torch.autocast(query.device.type, enabled=False):
            scores = query @ competing.keys.T  # [B, K]
            if self.similarity == "cos":
                scores = scores / self.temperature
            return mean_loss(scores, competing, batch, self.settings_of(batch["task"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and a schedule that is stepped after every optimizer step.

        Raises:
            ConfigError: the schedule needs the number of steps, and the fit has no end.
        """
        optimizer = adamw(
            self.parameters(), learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
        if self.schedule == "constant" and self.warmup_ratio == 0:
            return optimizer
        scheduler = warmup_schedule(
            optimizer,
            self.trainer.estimated_stepping_batches,
            warmup_ratio=self.warmup_ratio,
            schedule=self.schedule,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Drop what an interrupted evaluation may have left."""
        self._evaluator.reset()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(
        self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Encode a batch of queries or of a corpus and keep it; ranks do not communicate."""
        name = batch["dataset"]
        self._evaluator.note_loader(name, dataloader_idx)
        if "content" in batch:
            if len(batch["index"]):
                self._evaluator.add_corpus(name, self._embed(batch, "content"), batch["index"])
            return
        if not len(batch["row"]):
            return
        embedding = self._embed(batch, "query")
        self._evaluator.add_queries(
            name,
            embedding,
            row=batch["row"],
            positives=batch["pos_index"],
            corpus=batch.get("corpus"),
            ranked=self._rerank(batch, embedding) if "key" in batch else None,
            grades=batch.get("grades"),
        )

    def _rerank(self, batch: RetrievalBatch, query: Tensor) -> Tensor:
        """Return the indices of each query's keys, best first: ``[n, G]`` int64, padded with -1."""
        keys = self._embed(batch, "key").view(*batch["key_mask"].shape, query.shape[1])
        # Not a matrix product, which mixed precision would round.
        scores = (query[:, None] * keys).sum(2)  # [n, G]
        return rerank_order(scores, batch["key_index"].masked_fill(batch["key_mask"] == 0, -1))

    def test_step(self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Encode a batch and keep it; see :meth:`validation_step`."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<eval set>/mrr@10`` etc., and the means over the eval sets, ``val/mrr@10``.

        Nothing is logged in the sanity check, which sees only a few batches of a corpus. If the
        trainer's limits leave out a part of a corpus, its eval sets and the means are not logged.
        """
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics under ``test/``; see :meth:`on_validation_epoch_end`."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        values = self._evaluator.finish(self, stage, self._warn_once)
        if self.trainer.sanity_checking:
            return
        # All ranks have the same values already, so their maximum is exact. A mean over three ranks
        # may differ in the last bit, and without sync_dist Lightning warns.
        for name, value in values.items():
            self.log(name, value, sync_dist=True, reduce_fx="max", batch_size=1)

    def predict_step(
        self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Embed a corpus batch.

        Returns:
            ``index`` ``[n]`` int64 and ``embedding`` ``[n, D]`` float32, on the CPU.
        """
        embedding = self._embed(batch, "content")
        return {"index": batch["index"].detach().cpu(), "embedding": embedding.detach().cpu()}

    # Export

    def export(
        self,
        path: str | os.PathLike[str],
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        datamodule: lightning.LightningDataModule | None = None,
        max_length: int | None = None,
        run: RunRecord | None = None,
        overwrite: bool = False,
        check: bool = True,
    ) -> None:
        """Save the encoder for AutoModel and SentenceTransformer. Only rank 0 writes.

        The folder appears complete or not at all. It holds the prompts, the pooling, the length at
        which texts are cut, the similarity, and a model card.

        Args:
            path: a folder that does not exist, or is empty.
            tokenizer: saved beside the encoder. None: the data module's, else the one of the name
                ``encoder``; if there is neither, a warning.
            datamodule: whose prompts and key length the folder gets. None: the trainer's; without
                one, the encoder's own.
            max_length: most tokens of a text, special tokens included. None: the data module's key
                length; without one, the encoder's own.
            run: what the model card says about the training. None: what the trainer knows.
            overwrite: whether to replace a folder that has files, if it is a model's.
            check: whether to load the folder again and compare token ids and vectors on probe
                texts, by sentence-transformers if it is installed.

        Raises:
            ConfigError: the folder exists and is not to be replaced; or, loaded again, it gives
                other token ids or vectors. Nothing is written then.
        """
        if self.global_rank != 0:
            return
        datamodule = datamodule or self._datamodule
        tokenizer = tokenizer or getattr(datamodule, "tokenizer", None)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            named = "encoder" in self.hparams
            tokenizer = AutoTokenizer.from_pretrained(self.hparams["encoder"]) if named else None
        if tokenizer is None:
            logger.warning(
                "%s has no tokenizer: give one to export(tokenizer=...)", one_line(Path(path))
            )
        with isolate_rng(), evaluating(self):  # training goes on as if nothing was exported
            EncoderExport(
                encoder=self.encoder,
                pooler=self._pooler[0],
                tokenizer=tokenizer,
                model_name=self._model_name,
                pooling=self.pooling,
                include_prompt=self._include_prompt,
                similarity=self.similarity,
                encode=lambda inputs, n: self.encode(on_device(inputs, self.device), None, n),
                datamodule=datamodule,
                max_length=max_length,
                run=run or RunRecord.of_trainer(self._attached, self.hparams),
            ).write(path, overwrite=overwrite, check=check)

    def longest_input(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the most tokens that the encoder takes, by its own files and its tokenizer's."""
        return longest_of_model(self._model_name, self.encoder, tokenizer)[0]

    # The trainer, which is absent in a notebook

    @property
    def _attached(self) -> lightning.Trainer | None:
        try:
            return self.trainer
        except RuntimeError:  # Lightning raises it if no trainer is attached
            return None

    @property
    def _datamodule(self) -> lightning.LightningDataModule | None:
        return getattr(self._attached, "datamodule", None)

    @property
    def _num_replicas(self) -> int:
        return 1 if self._attached is None else self._attached.world_size

    def _warn_once(self, message: str) -> None:
        """Warn on rank 0, once per run, except in the sanity check, which sees few batches."""
        if self.trainer.sanity_checking or message in self._warned:
            return
        self._warned.add(message)
        if self.global_rank == 0:
            logger.warning(printable(message))


def _loaded(encoder: str | PreTrainedModel) -> PreTrainedModel:
    """Return the encoder, loaded if it is a name or path."""
    # float32 whatever the files hold: in bfloat16 an AdamW update at 5e-6 rounds to nothing. The
    # precision to compute in is a setting of the trainer.
    loaded: Any = (
        AutoModel.from_pretrained(encoder, dtype=torch.float32)
        if isinstance(encoder, str)
        else encoder
    )
    if getattr(loaded.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"encoder={type(loaded).__name__}: an encoder-decoder, expected an encoder or a "
            "decoder (give its encoder, e.g. T5EncoderModel.from_pretrained(...))"
        )
    return cast(PreTrainedModel, loaded)
