"""BiEncoder: an embedder that encodes queries and keys separately."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from transformers import PreTrainedModel

from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.recipes import (
    AUTO,
    ModelSettings,
    Recipe,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.mining.search import Precision
from llm_embedder_data.training.batch_kinds import check_gives_sides
from llm_embedder_data.training.data_module_protocols import (
    GivesConventions,
    GivesLongestInputs,
    tokenizer_of,
)
from llm_embedder_data.training.encoder.adapters import (
    FROZEN_DIGEST,
    frozen_digest,
    has_adapters,
    plain_settings,
    with_frozen,
    without_frozen,
)
from llm_embedder_data.training.encoder.embedding_module import Pooling, RetrievalBatch, Similarity
from llm_embedder_data.training.encoder.grad_cache import cached_embeddings
from llm_embedder_data.training.encoder.position_limits import check_positions
from llm_embedder_data.training.encoder.vocabulary_check import check_vocabulary
from llm_embedder_data.training.encoder_formats import EncoderFormats
from llm_embedder_data.training.matryoshka import (
    TruncatingEvaluator,
    weighted_dimensions,
)
from llm_embedder_data.training.optimization import Schedule
from llm_embedder_data.training.retrieval_loss import (
    BatchLoss,
    Objective,
    competing_keys,
    loss_of_embeddings,
)
from llm_embedder_data.training.retrieval_module import plain_recipe
from llm_embedder_data.training.retrieval_steps import RetrievalSteps
from llm_embedder_data.training.settings import (
    check_embedding_arguments,
    check_encoder,
    check_flags,
    plain_tuple,
)


class BiEncoder(RetrievalSteps, EncoderFormats):
    """Embeds queries and keys with one encoder, trained by a contrastive and a distillation loss.

    It trains on the batches of RetrievalDataModule (docs/batch-keys.md). Each rank scores its
    queries against the keys of all ranks, leaving out known positives and padded keys. The gradient
    that data-parallel training averages is exactly that of the mean loss over the global batch, for
    any number of ranks, if all ranks have the same number of queries and of keys per query.

    Evaluation is exact retrieval from a corpus that the ranks encode in disjoint shards; see
    :class:`~llm_embedder_data.training.evaluation.evaluator.RetrievalEvaluator`.

    The pooler of the encoder is not trained: it is removed, and put back at export.
    docs/training.md says when to use which of the options.

    Args:
        encoder: a name or path for AutoModel, loaded as float32; or a transformers model; or a
            PeftModel. Checkpoints do not record a model that was passed as an object: pass it again
            to ``load_from_checkpoint``.
        pooling: how token vectors become the embedding of a text: its first token (``cls``), the
            ``mean`` of its tokens, or its ``last`` token. ``auto`` takes what the model's own files
            say; if they say nothing, what is published for the model; otherwise ``last`` for a
            decoder and ``cls`` for an encoder. The choice is logged.
        similarity: ``cos``, or ``dot`` for the inner product of unnormalized embeddings. ``auto``
            takes what the model's files say, otherwise ``cos``.
        temperature: divides the cosine; not used with ``dot``. For this argument, the next four
            and ``learning_rate``, None means the recipe's value, or that of
            :data:`~llm_embedder_data.training.settings.DEFAULTS` if the recipe has none.
        contrastive_weight: weight of the contrastive loss next to distillation; 0: distillation
            only.
        distill_weight: weight of the distillation loss; 0: contrastive loss only. Queries without
            teacher scores always use the contrastive loss alone.
        teacher_temperature: divides the teacher's scores.
        student_temperature: divides the model's scores in the distillation loss.
        gather_negatives: whether the keys of other ranks are negatives too.
        recipe: name, path, mapping or Recipe that replaces the data module's recipe. Where an
            argument is None, the recipe's setting for the batch's task applies, or else its setting
            for the model. It also decides whether distillation is list-wise (``stable_distill``).
            None: the data module's settings.
        learning_rate: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW, except for biases and norms.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0, [0, 1].
        schedule: how the learning rate falls to 0 after the warmup, or ``constant``.
        cutoffs: the k of the metrics, such as nDCG@k.
        drop_identical_ids: remove the document with the query's id from the query's results.
        search_precision: precision of a search's products: ``float32``, ``tf32`` or ``bf16``.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        mini_batch_size: number of texts whose activations are in memory at a time (GradCache). Each
            text is encoded twice, and memory does not grow with the batch. None: the whole batch.
        matryoshka_dims: numbers of leading dimensions that are trained and evaluated as embeddings
            too, besides the full width.
        matryoshka_weights: weight of the loss of each of ``matryoshka_dims``; None: 1 each. The
            full width has weight 1 unless it is listed. All weights are scaled to sum to 1.
        false_negative_margin: leave out keys of other queries whose similarity to a query exceeds
            that of its positive by more than this. A negative margin also leaves out keys that
            score a little less than the positive. None: none are left out.
        symmetric: average the contrastive loss with that of each positive key against the queries.
        bidirectional: let the tokens of a decoder attend to later tokens too.
        lora: arguments of ``peft.LoraConfig``, such as ``{"r": 16}``: train LoRA adapters and
            freeze the encoder. Needs the extra ``lora``.
        save_base_weights: whether checkpoints of an encoder with adapters hold the frozen weights
            too. Without them, loading a checkpoint needs the original encoder.

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
        drop_identical_ids: bool = False,
        search_precision: Precision = "float32",
        gradient_checkpointing: bool = False,
        mini_batch_size: int | None = None,
        matryoshka_dims: Sequence[int] | None = None,
        matryoshka_weights: Sequence[float] | None = None,
        false_negative_margin: float | None = None,
        symmetric: bool = False,
        bidirectional: bool = False,
        lora: Mapping[str, Any] | None = None,
        save_base_weights: bool = False,
    ) -> None:
        check_choice(pooling, [*get_args(PoolingMode), "auto"], "model.pooling")
        check_choice(similarity, [*get_args(SimilarityName), "auto"], "model.similarity")
        check_choice(schedule, Schedule, "model.schedule")
        check_encoder(encoder)
        check_choice(search_precision, get_args(Precision), "model.search_precision")
        check_flags(
            gather_negatives=gather_negatives,
            drop_identical_ids=drop_identical_ids,
            gradient_checkpointing=gradient_checkpointing,
            symmetric=symmetric,
            bidirectional=bidirectional,
            save_base_weights=save_base_weights,
        )
        # save_hyperparameters reads these local variables. They must be plain Python, not the lists
        # and mappings of OmegaConf: torch loads nothing else from a checkpoint by default.
        cutoffs = plain_tuple(cutoffs, "cutoffs")
        if matryoshka_dims is not None:
            matryoshka_dims = plain_tuple(matryoshka_dims, "matryoshka_dims")
        if matryoshka_weights is not None:
            matryoshka_weights = plain_tuple(matryoshka_weights, "matryoshka_weights")
        lora = None if lora is None else plain_settings(lora)
        loaded_recipe, recipe = plain_recipe(recipe)
        super().__init__(
            ModelSettings(
                temperature=temperature,
                learning_rate=learning_rate,
                contrastive_weight=contrastive_weight,
                distill_weight=distill_weight,
                teacher_temperature=teacher_temperature,
                student_temperature=student_temperature,
            ),
            recipe=loaded_recipe,
            weight_decay=weight_decay,
            warmup_ratio=warmup_ratio,
            schedule=schedule,
            cutoffs=cutoffs,
        )
        if not isinstance(encoder, nn.Module):
            encoder = os.fspath(encoder)
        self.save_hyperparameters(ignore=["encoder"] if isinstance(encoder, nn.Module) else [])
        self.gather_negatives = gather_negatives
        self.mini_batch_size = mini_batch_size
        self.save_base_weights = save_base_weights
        check_embedding_arguments(
            mini_batch_size=mini_batch_size, false_negative_margin=false_negative_margin
        )

        self._take_encoder(
            encoder,
            pooling,
            similarity,
            gradient_checkpointing=gradient_checkpointing,
            bidirectional=bidirectional,
            lora=lora,
        )
        self._dimensions = weighted_dimensions(
            matryoshka_dims, matryoshka_weights, self.embedding_size
        )
        self._objective = Objective(
            dimensions=self._dimensions,
            normalize=self.similarity == "cos",
            false_negative_margin=false_negative_margin,
            symmetric=symmetric,
        )
        self.evaluator = TruncatingEvaluator(
            cutoffs,
            [width for width, _ in self._dimensions[1:]],
            normalize=self.similarity == "cos",
            drop_identical_ids=drop_identical_ids,
            precision=search_precision,
        )

    def setup(self, stage: str) -> None:
        """Check the data module against the encoder, and log the settings of a fit.

        Raises:
            ConfigError: texts can be longer than the encoder's positions, a file of the model is
                invalid, or the batches hold pairs for a cross-encoder.
        """
        self._warned.clear()  # forget the warnings of an earlier run, so that they are given again
        check_gives_sides(self._datamodule)
        self.check_data_module(self._datamodule)
        if stage == "fit":
            settings = self.model_settings
            rank_zero_info(
                f"temperature: {settings.temperature}, learning rate: {settings.learning_rate} "
                "(model.temperature and model.learning_rate change them)"
            )

    def check_data_module(self, datamodule: object) -> None:
        """Check the lengths, token ids and prompts of a data module against the encoder.

        :meth:`setup` does this for a trainer's data module. Call it if there is no trainer.

        Raises:
            ConfigError: as :meth:`setup`.
        """
        if isinstance(datamodule, GivesLongestInputs):
            for message in check_positions(self.encoder, datamodule.longest_inputs()):
                self._warn_once(message)
        if (tokenizer := tokenizer_of(datamodule)) is not None:
            for message in check_vocabulary(self.encoder, self._model_name, tokenizer):
                self._warn_once(message)
        if isinstance(datamodule, GivesConventions) and datamodule.recipe.name == AUTO:
            expected = with_conventions(Recipe(AUTO, {}), self._model_name)
            if expected.instructions != datamodule.recipe.instructions:
                rank_zero_warn(
                    f"the prompts of the encoder {self._model_name} ({expected.origin}) differ "
                    f"from those that the data module uses ({datamodule.recipe.origin}): give both "
                    "the same model, or name a recipe in data.recipe"
                )

    @property
    def temperature(self) -> float:
        """The temperature, by which cosines are divided."""
        return cast(float, self.model_settings.temperature)

    # Training

    def _embed_to_train(self, batch: RetrievalBatch) -> tuple[Tensor, Tensor]:
        """Embed both sides of a training batch, in mini-batches if ``mini_batch_size`` is set."""
        query, key = (self._calls(batch, side, self.mini_batch_size) for side in ("query", "key"))
        calls = [*query.calls, *key.calls]
        if self.mini_batch_size is None or not torch.is_grad_enabled():
            rows = [self._encode_call(call) for call in calls]
        else:
            # Embed both sides in one call, so that their gradients of a weight share a buffer.
            weights = [*self.encoder.parameters(), *self.dense_layers.parameters()]
            rows = cached_embeddings(self._encode_call, calls, weights)
        first_key = len(query.calls)
        return (
            query.in_order(torch.cat(rows[:first_key])),
            key.in_order(torch.cat(rows[first_key:])),
        )

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Return the batch's loss; log this rank's as ``train/loss`` and ``train/loss/<task>``.

        With ``false_negative_margin``, ``train/likely_positives`` is the mean number of keys per
        query that the margin leaves out.
        """
        loss, left_out = self._loss_of(batch)
        self._log_loss(loss, batch)
        if left_out is not None:
            self.log("train/likely_positives", left_out, batch_size=len(batch["key_mask"]))
        return loss

    def loss(self, batch: RetrievalBatch) -> Tensor:
        """Return the mean loss over the batch's queries, a scalar.

        All ranks must call this at the same step, with the same ``in_batch_negatives`` and the
        same shape of ``key_mask``.

        Raises:
            ConfigError: the batch holds pairs for a cross-encoder.
        """
        return self._loss_of(batch).loss

    def _loss_of(self, batch: RetrievalBatch) -> BatchLoss:
        if "cross" in batch:
            raise ConfigError(
                "data.cross=True: the batch holds (query, key) pairs, but BiEncoder encodes query "
                "and key separately (set data.cross=false, or train a cross-encoder)"
            )
        query, key = self._embed_to_train(batch)
        gathers = self.gather_negatives and batch["in_batch_negatives"] and self._num_replicas > 1
        all_gather = self.all_gather if gathers else None
        competing = competing_keys(batch, key, rank=self.global_rank, all_gather=all_gather)
        # bfloat16 has 8 significant bits: a cosine divided by 0.01 would be off by 0.2.
        with torch.autocast(query.device.type, enabled=False):
            return loss_of_embeddings(
                query,
                competing,
                batch,
                self.settings_of(batch["task"]),
                self._objective,
                temperature=self.temperature if self.similarity == "cos" else 1.0,
                all_gather=all_gather,
            )

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove frozen weights from checkpoints of adapters, unless ``save_base_weights``."""
        if has_adapters(self.encoder) and not self.save_base_weights:
            checkpoint["state_dict"] = without_frozen(checkpoint["state_dict"], self)
            checkpoint[FROZEN_DIGEST] = frozen_digest(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the encoder's frozen weights to a checkpoint that was saved without them.

        Raises:
            ConfigError: the adapters were trained with other frozen weights than the encoder's.
        """
        if FROZEN_DIGEST not in checkpoint:
            return
        if checkpoint[FROZEN_DIGEST] != frozen_digest(self):
            raise ConfigError(
                "the checkpoint contains only adapters, and they were trained with other frozen "
                f"weights than those of the encoder {self._model_name} (give the encoder that the "
                "training began with)"
            )
        checkpoint["state_dict"] = with_frozen(checkpoint["state_dict"], self)
