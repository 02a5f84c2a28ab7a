"""BiEncoder: an embedder that encodes queries and keys separately."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.recipes import (
    AUTO,
    ModelSettings,
    Recipe,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.mining.search import Precision
from llm_embedder_data.training.adapters import (
    FROZEN_DIGEST,
    frozen_digest,
    has_adapters,
    plain_settings,
    with_frozen,
    without_frozen,
)
from llm_embedder_data.training.batch_kinds import check_gives_sides
from llm_embedder_data.training.data_module_protocols import (
    GivesConventions,
    GivesLongestInputs,
)
from llm_embedder_data.training.embedding_module import (
    EmbeddingModule,
    Pooling,
    RetrievalBatch,
    Similarity,
)
from llm_embedder_data.training.evaluating import evaluating, on_device
from llm_embedder_data.training.export import EncoderExport, longest_of_model, prompts_to_export
from llm_embedder_data.training.grad_cache import cached_embeddings
from llm_embedder_data.training.matryoshka import (
    TruncatingEvaluator,
    weighted_dimensions,
)
from llm_embedder_data.training.mteb_encoder import MtebEncoder
from llm_embedder_data.training.optimization import Schedule
from llm_embedder_data.training.position_limits import check_positions
from llm_embedder_data.training.retrieval_loss import (
    BatchLoss,
    Objective,
    competing_keys,
    loss_of_embeddings,
)
from llm_embedder_data.training.retrieval_module import RetrievalModule, plain_recipe
from llm_embedder_data.training.run_record import RunRecord
from llm_embedder_data.training.settings import (
    check_embedding_arguments,
)

logger = logging.getLogger(__name__)


class BiEncoder(RetrievalModule, EmbeddingModule):
    """Embeds queries and keys with one encoder, trained by a contrastive and a distillation loss.

    It trains on the batches of RetrievalDataModule (docs/batch-keys.md). Each rank scores its own
    queries against the keys of all ranks, leaving out known positives and padded keys. The gradient
    that data-parallel training averages is exactly that of the mean loss over the global batch, for
    any number of ranks, if all ranks have the same number of queries and of keys per query.

    Evaluation is exact retrieval from a corpus that the ranks encode in disjoint shards; see
    :class:`~llm_embedder_data.training.evaluator.RetrievalEvaluator`.

    Only ``encoder`` is trained. Its pooler gets no gradient, so it is set aside until export.
    docs/training.md says when to use which of the options.

    Args:
        encoder: a name or path for AutoModel, loaded as float32; or a model, without its pooler;
            or a PeftModel. Checkpoints do not record a model: pass it again to
            ``load_from_checkpoint``.
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
        cutoffs: the k of the metrics, such as nDCG@k.
        drop_identical_ids: leave the document whose id is the query's out of its results.
        search_precision: what products of a search are rounded to: ``float32``, ``tf32`` or
            ``bf16``.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        mini_batch_size: most texts that the encoder holds activations of (GradCache). Each text is
            encoded twice, and memory no longer grows with the batch. None: the whole batch.
        matryoshka_dims: numbers of leading dimensions that are trained and evaluated as embeddings
            of their own, beside the full width.
        matryoshka_weights: weight of the loss of each of ``matryoshka_dims``; None: 1 each. They
            are scaled to sum to 1, with the full width's, which is 1 unless it is listed.
        false_negative_margin: leave out keys of other queries whose similarity to a query exceeds
            that of its positive by more than this. A negative margin also leaves out keys that
            score a little less than the positive. None: none are left out.
        symmetric: average the contrastive loss with that of each positive key against the queries.
        bidirectional: let the tokens of a decoder attend to later tokens too.
        lora: arguments of ``peft.LoraConfig``, such as ``{"r": 16}``: train LoRA adapters and
            freeze the encoder. Needs the extra ``lora``.
        save_base_weights: whether checkpoints of an encoder with adapters hold the frozen weights
            too. They are not needed if the encoder is at hand when a checkpoint is loaded.

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
        check_choice(search_precision, get_args(Precision), "model.search_precision")
        # save_hyperparameters reads these local variables. They must be plain Python, not the lists
        # and mappings of OmegaConf: torch loads nothing else from a checkpoint by default.
        cutoffs = tuple(cutoffs)
        matryoshka_dims = None if matryoshka_dims is None else tuple(matryoshka_dims)
        matryoshka_weights = None if matryoshka_weights is None else tuple(matryoshka_weights)
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
            matryoshka_dims, matryoshka_weights, self.encoder.config.hidden_size
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
        self._warned.clear()  # of an earlier run
        check_gives_sides(self._datamodule)
        self.check_data_module(self._datamodule)
        if stage == "fit":
            settings = self.model_settings
            rank_zero_info(
                f"temperature: {settings.temperature}, learning rate: {settings.learning_rate} "
                "(model.temperature and model.learning_rate change them)"
            )

    def check_data_module(self, datamodule: object) -> None:
        """Check the lengths and prompts of a data module's texts against the encoder.

        :meth:`setup` does this for a trainer's data module; without a trainer, call it.

        Raises:
            ConfigError: as :meth:`setup`.
        """
        if isinstance(datamodule, GivesLongestInputs):
            for message in check_positions(self.encoder, datamodule.longest_inputs()):
                self._warn_once(message)
        if isinstance(datamodule, GivesConventions) and datamodule.recipe.name == AUTO:
            expected = with_conventions(Recipe(AUTO, {}), self._model_name)
            if expected.instructions != datamodule.recipe.instructions:
                rank_zero_warn(
                    f"the encoder {self._model_name} has other prompts ({expected.origin}) than "
                    f"those before the data module's texts ({datamodule.recipe.origin}): give both "
                    "the same model, or name a recipe in data.recipe"
                )

    @property
    def temperature(self) -> float:
        """The number that divides the cosine."""
        return cast(float, self.model_settings.temperature)

    # Training

    def _embed_to_train(self, batch: RetrievalBatch) -> tuple[Tensor, Tensor]:
        """Embed both sides of a training batch, in mini-batches if ``mini_batch_size`` is set."""
        query, key = (self._calls(batch, side, self.mini_batch_size) for side in ("query", "key"))
        calls = [*query.calls, *key.calls]
        if self.mini_batch_size is None or not torch.is_grad_enabled():
            rows = [self._encode_call(call) for call in calls]
        else:
            # Both sides in one function, so that a weight's gradients are summed in one buffer.
            rows = cached_embeddings(self._encode_call, calls, self.encoder.parameters())
        first_key = len(query.calls)
        return (
            query.in_order(torch.cat(rows[:first_key])),
            key.in_order(torch.cat(rows[first_key:])),
        )

    def training_step(self, batch: RetrievalBatch, batch_idx: int) -> Tensor:
        """Return the batch's loss; log this rank's as ``train/loss`` and ``train/loss/<task>``.

        With ``false_negative_margin``, ``train/likely_positives`` is the mean number of keys per
        query that it leaves out.
        """
        loss, left_out = self._loss_of(batch)
        n_queries = len(batch["key_mask"])
        # A progress bar reads its values at every step, which makes the host wait for the device.
        has_bar = self._trainer is not None and self._trainer.progress_bar_callback is not None
        # Not reduced over ranks: that would add a collective to each step.
        self.log("train/loss", loss, prog_bar=has_bar, batch_size=n_queries)
        self.log(f"train/loss/{one_line(batch['task'])}", loss, batch_size=n_queries)
        if left_out is not None:
            self.log("train/likely_positives", left_out, batch_size=n_queries)
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
                "data.cross=True: the batch holds (query, key) pairs, and BiEncoder encodes query "
                "and key apart (set data.cross=false, or train a cross-encoder)"
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
        """Leave the frozen weights beside adapters out, unless ``save_base_weights`` is set."""
        if has_adapters(self.encoder) and not self.save_base_weights:
            checkpoint["state_dict"] = without_frozen(checkpoint["state_dict"], self)
            checkpoint[FROZEN_DIGEST] = frozen_digest(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take frozen weights that a checkpoint leaves out from the encoder as it was loaded.

        Raises:
            ConfigError: the checkpoint was saved beside other frozen weights.
        """
        if FROZEN_DIGEST not in checkpoint:
            return
        if checkpoint[FROZEN_DIGEST] != frozen_digest(self):
            raise ConfigError(
                "the checkpoint holds adapters alone, and the frozen weights of the encoder "
                f"{self._model_name} are not those beside which they were trained (give the "
                "encoder that the training began with)"
            )
        checkpoint["state_dict"] = with_frozen(checkpoint["state_dict"], self)

    # Evaluation

    def validation_step(
        self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Encode a batch of queries or of a corpus and keep it; ranks do not communicate."""
        name = batch["dataset"]
        self.evaluator.note_loader(name, dataloader_idx)
        if "content" in batch:
            if len(batch["index"]):
                self.evaluator.add_corpus(name, self._embed(batch, "content"), batch["index"])
            return
        if not len(batch["row"]):
            return
        embedding = self._embed(batch, "query")
        about = {
            "row": batch["row"],
            "positives": batch["pos_index"],
            "corpus": batch.get("corpus"),
            "grades": batch.get("grades"),
        }
        if "key" not in batch:
            self.evaluator.add_queries(name, embedding, **about)
            return
        keys = self._embed(batch, "key").view(*batch["key_mask"].shape, embedding.shape[1])
        key_index = batch["key_index"].masked_fill(batch["key_mask"] == 0, -1)
        self.evaluator.add_reranked(name, embedding, keys, key_index, **about)

    def test_step(self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Encode a batch and keep it; see :meth:`validation_step`."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def predict_step(
        self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Embed a corpus batch.

        Returns:
            ``index`` ``[n]`` int64 and ``embedding`` ``[n, D]`` float32, on the CPU.
        """
        embedding = self._embed(batch, "content")
        return {"index": batch["index"].detach().cpu(), "embedding": embedding.detach().cpu()}

    def to_mteb(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        query_max_length: int = 256,
        key_max_length: int = 256,
    ) -> MtebEncoder:
        """Return this encoder as ``mteb.evaluate(...)`` takes it; it follows further training.

        Its prompts are those of :meth:`export`.

        Args:
            tokenizer: None: the data module's, else the one of the name ``encoder``.
            query_max_length: tokens of a query, special tokens included.
            key_max_length: tokens of a document, special tokens included.

        Raises:
            ConfigError: there is no tokenizer.
        """
        tokenizer = tokenizer or self._tokenizer_of(self._datamodule)
        if tokenizer is None:
            raise ConfigError(
                "to_mteb() has no tokenizer: give one, as to_mteb(tokenizer), since the encoder "
                "was given as a model and no data module is attached"
            )
        return MtebEncoder(
            self,
            tokenizer,
            prompts=prompts_to_export(self._datamodule, self._model_name),
            max_length={"query": query_max_length, "document": key_max_length},
            prompt_lengths=not self.include_prompt,
        )

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
        tokenizer = tokenizer or self._tokenizer_of(datamodule)
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
                include_prompt=self.include_prompt,
                similarity=self.similarity,
                encode=lambda inputs, n: self.encode(on_device(inputs, self.device), None, n),
                datamodule=datamodule,
                max_length=max_length,
                run=run or RunRecord.of_trainer(self._attached, self.hparams),
            ).write(path, overwrite=overwrite, check=check)

    def longest_input(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the most tokens that the encoder takes, by its own files and its tokenizer's."""
        return longest_of_model(self._model_name, self.encoder, tokenizer)[0]
