"""CrossEncoder: a reranker that reads a query and a key together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls
from llm_embedder_data.config.recipes import ModelSettings, Recipe
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.training.batch_kinds import check_gives_pairs
from llm_embedder_data.training.classifier import classifier
from llm_embedder_data.training.data_module_protocols import GivesLongestInputs, tokenizer_of
from llm_embedder_data.training.encoder.activation_checkpointing import checkpoint_activations
from llm_embedder_data.training.encoder.eval_mode import evaluating, on_device
from llm_embedder_data.training.encoder.position_limits import check_positions
from llm_embedder_data.training.encoder.vocabulary_check import check_vocabulary
from llm_embedder_data.training.export.cross_encoder_export import CrossEncoderExport
from llm_embedder_data.training.export.encoder_export import longest_of_model
from llm_embedder_data.training.export.run_record import RunRecord
from llm_embedder_data.training.optimization import Schedule
from llm_embedder_data.training.pair_losses import Distillation, LabelLoss, mean_pair_loss
from llm_embedder_data.training.pair_scoring import score_in_slices
from llm_embedder_data.training.retrieval_module import RetrievalModule, plain_recipe
from llm_embedder_data.training.settings import (
    CROSS_ENCODER_DEFAULTS,
    check_encoder,
    check_flags,
    plain_tuple,
)

# A batch of RetrievalDataModule with cross=True, for training or reranking.
PairBatch = Mapping[str, Any]
# Tokenized pairs: padded in one mapping, or chunked in a list of mappings.
TokenizedPairs = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class CrossEncoder(RetrievalModule):
    """Scores (query, key) pairs with a sequence classifier that has a single label.

    It trains on the batches of RetrievalDataModule with ``cross=True`` (docs/cross-encoder.md). A
    query is trained on the keys of its row only: there are no in-batch negatives. Padded keys, and
    keys of the row that are known positives of the query, do not count as negatives.

    A query with teacher scores has two losses, weighted by ``contrastive_weight`` and
    ``distill_weight`` as in :func:`~llm_embedder_data.training.losses.combine`. A query without
    teacher scores has the loss of its labels alone.

    Args:
        encoder: a name or path for AutoModelForSequenceClassification with one label, loaded as
            float32; or such a model. A model without a classification head gets a new, random one.
            Checkpoints do not record a model that was passed as an object: pass it again to
            ``load_from_checkpoint``.
        loss: loss of the labels: ``listwise``, the softmax cross entropy of the positive among the
            keys of its row; or ``binary``, the binary cross entropy of each key.
        distillation: loss of the teacher's scores: ``kl``, the divergence of the softmax over the
            keys of a row; ``margin-mse``, the squared error of the margins between positive and
            negatives; or ``stable``, each key against the keys ranked below it. ``auto``:
            ``stable`` for tasks with ``stable_distill``, otherwise ``kl``.
        pos_weight: weight of the positive in the binary loss; None: 1.
        contrastive_weight: weight of the labels' loss next to distillation; 0: distillation only.
            For this argument, the next three and ``learning_rate``, None means the recipe's value,
            or that of :data:`~llm_embedder_data.training.settings.CROSS_ENCODER_DEFAULTS` if the
            recipe has none.
        distill_weight: weight of the distillation loss; 0: the labels' loss only.
        teacher_temperature: divides the teacher's scores.
        student_temperature: divides the model's scores in the distillation loss.
        recipe: name, path, mapping or Recipe that replaces the data module's recipe.
        learning_rate: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW, except for biases and norms.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0, [0, 1].
        schedule: how the learning rate falls to 0 after the warmup, or ``constant``.
        cutoffs: the k of MRR@k, Recall@k and nDCG@k.
        eval_pairs: maximum number of pairs per call of the model in an evaluation.
        gradient_checkpointing: recompute activations in the backward pass to save memory.

    Raises:
        ConfigError: an argument is invalid, or the model does not have exactly one label.
    """

    _defaults = CROSS_ENCODER_DEFAULTS

    def __init__(
        self,
        encoder: str | os.PathLike[str] | PreTrainedModel,
        *,
        loss: LabelLoss = "listwise",
        distillation: Distillation = "auto",
        pos_weight: float | None = None,
        contrastive_weight: float | None = None,
        distill_weight: float | None = None,
        teacher_temperature: float | None = None,
        student_temperature: float | None = None,
        recipe: Mapping[str, Any] | Recipe | str | os.PathLike[str] | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.01,
        warmup_ratio: float = 0.1,
        schedule: Schedule = "linear",
        cutoffs: Sequence[int] = (1, 5, 10, 100),
        eval_pairs: int = 256,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_choice(loss, get_args(LabelLoss), "model.loss")
        check_choice(distillation, get_args(Distillation), "model.distillation")
        check_choice(schedule, Schedule, "model.schedule")
        check_encoder(encoder)
        check_flags(gradient_checkpointing=gradient_checkpointing)
        _check_numbers(pos_weight, eval_pairs)
        if pos_weight is not None and loss != "binary":
            raise ConfigError(
                f"model.pos_weight={pos_weight!r} has no effect with model.loss={loss!r} (set "
                "model.loss=binary, or leave pos_weight out)"
            )
        # save_hyperparameters reads these local variables. They must be plain Python.
        cutoffs = plain_tuple(cutoffs, "cutoffs")
        loaded_recipe, recipe = plain_recipe(recipe)
        super().__init__(
            ModelSettings(
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
        self.label_loss = loss
        self.distillation = distillation
        self.pos_weight = 1.0 if pos_weight is None else pos_weight
        self.eval_pairs = eval_pairs
        self.encoder = classifier(encoder)
        self._model_name = encoder if isinstance(encoder, str) else encoder.name_or_path or None
        if gradient_checkpointing:
            checkpoint_activations(self.encoder)
        self.train()  # from_pretrained returns models in eval mode, and Lightning 2.6 keeps modes

    def setup(self, stage: str) -> None:
        """Check the data module against the model, and log the settings of a fit.

        Raises:
            ConfigError: the data module makes no pairs, evaluates by retrieval, or makes pairs that
                are too long for the model's positions.
        """
        self._warned.clear()  # forget the warnings of an earlier run, so that they are given again
        datamodule: Any = self._datamodule
        check_gives_pairs(datamodule)
        if isinstance(datamodule, GivesLongestInputs):
            for message in check_positions(self.encoder, datamodule.longest_inputs()):
                self._warn_once(message)
        if (tokenizer := tokenizer_of(datamodule)) is not None:
            for message in check_vocabulary(self.encoder, self._model_name, tokenizer):
                self._warn_once(message)
            self._note_padding_token(tokenizer)
        if stage == "fit":
            rank_zero_info(
                f"loss: {self.label_loss}, distillation: {self.distillation}, learning rate: "
                f"{self.model_settings.learning_rate} (model.loss, model.distillation and "
                "model.learning_rate change them)"
            )

    def _note_padding_token(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Set the padding token of a decoder whose configuration has none.

        The classification head of a decoder reads the last token that is not padding, so it has to
        know the padding token.
        """
        if self.encoder.config.pad_token_id is None:
            self.encoder.config.pad_token_id = tokenizer.pad_token_id

    # Scores

    def score(self, inputs: TokenizedPairs, inverse: Tensor | None = None) -> Tensor:
        """Score tokenized pairs.

        Args:
            inputs: the tokenizer's output, int64 ``[N, L]`` each, padded on either side; or a list
                of such chunks.
            inverse: ``[N]`` int64, the row of each pair in ``inputs``, if chunks reordered them.

        Returns:
            ``[N]`` float32, logits: higher is better.

        Raises:
            ConfigError: the pairs are packed.
        """
        logits = torch.cat([self._score_call(call) for call in model_calls(inputs)])
        return logits if inverse is None else logits[inverse]

    def forward(self, inputs: TokenizedPairs, inverse: Tensor | None = None) -> Tensor:
        """Score tokenized pairs; see :meth:`score`."""
        return self.score(inputs, inverse)

    def _score_call(self, inputs: Mapping[str, Any]) -> Tensor:
        if layout_of(inputs) == "packed":
            raise ConfigError(
                "data.layout='packed' with data.cross=True: the head of a classifier reads one "
                "text per row (set data.layout=padded or chunked)"
            )
        return cast(Tensor, self.encoder(**inputs).logits[:, 0].float())

    # Training

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Return the batch's loss; log this rank's as ``train/loss`` and ``train/loss/<task>``."""
        loss = self.loss(batch)
        self._log_loss(loss, batch)
        return loss

    def loss(self, batch: PairBatch) -> Tensor:
        """Return the mean loss over the batch's queries, a scalar.

        All ranks have the same number of queries, so the gradient that data-parallel training
        averages is the gradient of the mean over the global batch.

        Raises:
            ConfigError: the batch holds no pairs, or the loss needs more than one key per query.
        """
        _check_pairs(batch)
        mask = batch["key_mask"]
        if mask.shape[1] == 1 and self.label_loss == "listwise":
            raise ConfigError(
                f"dataset {batch['dataset']!r}: one key per query, but the list-wise loss compares "
                "the keys of a query (set data.train_group_size to at least 2 and give negatives, "
                "or set model.loss=binary)"
            )
        scores = self.score(batch["cross"], batch.get("cross_inverse")).view_as(mask)
        with torch.autocast(scores.device.type, enabled=False):
            return mean_pair_loss(
                scores,
                batch,
                self.settings_of(batch["task"]),
                label_loss=self.label_loss,
                distillation=self.distillation,
                pos_weight=self.pos_weight,
            )

    # Evaluation

    def validation_step(self, batch: PairBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Rank the candidates of a batch of queries, and record the ranking for the evaluator."""
        name = batch["dataset"]
        self.evaluator.note_loader(name, dataloader_idx)
        if not len(batch["row"]):
            return
        _check_pairs(batch)
        mask = batch["key_mask"]
        scores = score_in_slices(self._score_call, batch["cross"], self.eval_pairs)
        if (inverse := batch.get("cross_inverse")) is not None:
            scores = scores[inverse]
        key_index = batch["key_index"].masked_fill(mask == 0, -1)
        self.evaluator.add_scored(
            name,
            scores.view_as(mask),
            key_index,
            row=batch["row"],
            positives=batch["pos_index"],
            corpus=batch.get("corpus"),
            grades=batch.get("grades"),
        )

    def test_step(self, batch: PairBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Rank the candidates of a batch; see :meth:`validation_step`."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def predict_step(self, batch: PairBatch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Raise an error: prediction embeds the passages of a corpus.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "predict embeds the passages of a corpus, but a cross-encoder cannot embed texts (call "
            "score() with tokenized pairs)"
        )

    # Export

    def export(
        self,
        path: str | os.PathLike[str],
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        datamodule: Any = None,
        max_length: int | None = None,
        run: RunRecord | None = None,
        overwrite: bool = False,
        check: bool = True,
    ) -> None:
        """Save the classifier for sentence-transformers' CrossEncoder. Only rank 0 writes.

        Its ``predict`` gives the logits of :meth:`score`. The folder appears complete or not at
        all.

        Args:
            path: a folder that does not exist, or is empty.
            tokenizer: the tokenizer to save beside the model. None takes the data module's, or that
                of the folder or hub name ``encoder`` if there is no data module.
            datamodule: the source of the folder's query prompt and pair length. None takes the
                trainer's data module.
            max_length: maximum number of tokens of a pair, special tokens included. None takes the
                sum of the data module's query and key lengths, or the model's limit if there is no
                data module.
            run: facts about the training for the model card. None takes them from the trainer.
            overwrite: whether to replace an existing folder, if it holds an exported model.
            check: whether to load the folder again and compare token ids and scores.

        Raises:
            ConfigError: there is no tokenizer; the folder exists and ``overwrite`` does not allow
                replacing it; or the folder, loaded again, gives other token ids or scores. In all
                cases nothing is written.
        """
        if self.global_rank != 0:
            return
        datamodule = datamodule or self._datamodule
        tokenizer = tokenizer or self._tokenizer_of(datamodule)
        if tokenizer is None:
            raise ConfigError("a cross-encoder is exported with its tokenizer (give tokenizer=...)")
        self._note_padding_token(tokenizer)
        with isolate_rng(), evaluating(self):  # so that an export does not change the training
            CrossEncoderExport(
                encoder=self.encoder,
                tokenizer=tokenizer,
                model_name=self._model_name,
                score=lambda inputs: self._score_call(on_device(inputs, self.device)),
                datamodule=datamodule,
                max_length=max_length,
                run=run or RunRecord.of_trainer(self._attached, self.hparams),
            ).write(path, overwrite=overwrite, check=check)

    def longest_input(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the maximum length of a pair in tokens, from the model's and tokenizer's files."""
        return longest_of_model(self._model_name, self.encoder, tokenizer)[0]


def _check_numbers(pos_weight: Any, eval_pairs: Any) -> None:
    is_number = isinstance(pos_weight, int | float) and not isinstance(pos_weight, bool)
    if pos_weight is not None and not (is_number and 0 < pos_weight < float("inf")):
        raise ConfigError(f"model.pos_weight={pos_weight!r}: expected a number above 0, or null")
    if type(eval_pairs) is not int or eval_pairs < 1:
        raise ConfigError(f"model.eval_pairs={eval_pairs!r}: expected a whole number of at least 1")


def _check_pairs(batch: PairBatch) -> None:
    if "cross" not in batch:
        raise ConfigError(
            "the batch holds no (query, key) pairs, but CrossEncoder scores nothing else (set "
            "data.cross=true, and data.eval_method=rerank for evaluations)"
        )
