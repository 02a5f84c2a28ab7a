"""An embedder that encodes queries and keys apart, trained on RetrievalDataModule's batches."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args, runtime_checkable

import lightning
import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_scheduler,
)

from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls
from llm_embedder_data.config.conventions import (
    KEY_SUFFIX,
    PROMPT_FILE,
    QUERY_SUFFIX,
    PoolingMode,
    SimilarityName,
    pooled,
    with_conventions,
)
from llm_embedder_data.config.recipes import (
    ANY_TASK,
    AUTO,
    Instruction,
    ModelSettings,
    Recipe,
    TaskSettings,
    is_finite_number,
    load_recipe,
    said,
)
from llm_embedder_data.core.errors import ConfigError, check_choice
from llm_embedder_data.core.printable import one_line, printable
from llm_embedder_data.training.losses import (
    combine,
    contrastive_loss,
    has_teacher_scores,
    kl_distillation,
    known_positive_mask,
    stable_distillation,
)
from llm_embedder_data.training.packed_attention import (
    AttentionSwitch,
    positions,
    text_of_token,
)
from llm_embedder_data.training.position_limits import GivesLongestInputs, check_positions
from llm_embedder_data.training.retrieval_metrics import (
    EvalQueries,
    EvalShard,
    merge_top_k,
    rerank_order,
    retrieval_metrics,
    top_k,
)

Pooling = PoolingMode | Literal["auto"]
Similarity = SimilarityName | Literal["auto"]
Schedule = Literal["linear", "cosine", "constant"]
Batch = Mapping[str, Any]
Inputs = Mapping[str, Any] | Sequence[Mapping[str, Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """How one task is trained: see the arguments of :class:`BiEncoder` of the same names."""

    contrastive_weight: float
    distill_weight: float
    teacher_temperature: float
    student_temperature: float
    stable_distill: bool


@runtime_checkable
class GivesTaskSettings(Protocol):
    """A data module that says how a task is trained, as RetrievalDataModule does."""

    def task_settings(self, task: str) -> TaskSettings:
        """The settings in force for a task; None where nothing is said."""


@runtime_checkable
class GivesConventions(Protocol):
    """A data module that says how the whole model is trained, and what stands before its texts."""

    recipe: Recipe

    def model_settings(self) -> ModelSettings:
        """The settings in force; None where nothing is said."""

    def instruction(self, task: str) -> Instruction:
        """The texts before a task's queries and keys."""


# What serves a usual fine-tuning: `make defaults` measures them.
DEFAULTS = ModelSettings(
    temperature=0.05,
    learning_rate=2e-5,
    contrastive_weight=1.0,
    distill_weight=0.2,
    teacher_temperature=1.0,
    student_temperature=1.0,
)


class BiEncoder(lightning.LightningModule):
    """Encodes queries and keys with one encoder; trains by contrast and by distillation.

    A training batch is DESIGN 4's. Each rank scores its own queries against the keys of all ranks;
    known positives and padded keys are left out. The gradient that data-parallel training averages
    is exactly that of the mean loss over the global batch, however many ranks share it, provided
    that all ranks have the same number of queries and of keys per query.

    Evaluation retrieves exactly from a corpus that the ranks encoded in disjoint shards. The ranks
    may have different numbers of batches; no rank holds more than its shard and all queries.

    Only ``encoder`` is trained, without its pooler, which would be a parameter without gradient.

    Args:
        encoder: a name or path for AutoModel, loaded as float32, or a model, whose pooler is taken
            off and which checkpoints do not name: give it again to ``load_from_checkpoint``.
        pooling: what stands for a text: its first token (cls), the mean of its tokens, or its last
            token. ``auto``: what the model's own files say, else what is published of it, else last
            for a decoder and cls for an encoder; said once in the log.
        similarity: cosine, or inner product of embeddings that are not normalised; ``auto``: as the
            model's files say, else cosine.
        temperature: divides the cosine; the inner product is taken as it is. None, here and in the
            next four arguments and ``learning_rate``: the recipe's, else that of
            :data:`DEFAULTS`. A value that is given wins over the recipe.
        contrastive_weight: of the contrastive loss, beside distillation; 0: distillation alone.
        distill_weight: of the distillation loss; 0: contrastive alone. A query without teacher
            scores is trained by the contrastive loss alone, whatever the weights.
        teacher_temperature: divides the teacher's scores.
        student_temperature: divides the scores that are to become like the teacher's.
        gather_negatives: whether the keys of other ranks compete too.
        recipe: name, path, mapping or Recipe whose settings of a batch's task, then of the model,
            stand where an argument is None, and which says whether distillation is list-wise
            (``stable_distill``). None: the settings in force in the data module.
        learning_rate: of AdamW, at its highest.
        weight_decay: of AdamW; biases and norms have none.
        warmup_ratio: share of the optimizer steps in which the learning rate rises from 0, [0, 1].
        schedule: how the learning rate falls to 0 after that, or constant.
        cutoffs: the k of MRR@k, Recall@k and nDCG@k.
        gradient_checkpointing: recompute activations in the backward pass, to save memory.

    Raises:
        ConfigError: naming every argument that cannot be used; or a model whose files ask for
            modules other than pooling and normalisation, where ``pooling`` is auto.
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
        # What is saved is what stands in these names now: plain Python, or a checkpoint would not
        # load with torch's default weights_only (OmegaConf gives its own lists and mappings).
        cutoffs = tuple(cutoffs)
        self._recipe = None if recipe is None else load_recipe(recipe)
        if self._recipe is not None:
            recipe = _plain(recipe, self._recipe)
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
        self._check_numbers()

        # float32 whatever the files hold: AdamW at 5e-6 would round away in bfloat16, and the
        # precision to compute in is the trainer's to say.
        self.encoder: PreTrainedModel = (
            AutoModel.from_pretrained(encoder, dtype=torch.float32)
            if isinstance(encoder, str)
            else encoder
        )
        if getattr(self.encoder.config, "is_encoder_decoder", False):
            raise ConfigError(
                f"encoder={type(self.encoder).__name__}: an encoder-decoder, expected an encoder "
                "or a decoder (give its encoder, e.g. T5EncoderModel.from_pretrained(...))"
            )
        self._model_name = encoder if isinstance(encoder, str) else encoder.name_or_path or None
        found = pooled(
            self._model_name,
            self.encoder.config,
            pooling=None if pooling == "auto" else pooling,
            similarity=None if similarity == "auto" else similarity,
        )
        self.pooling: PoolingMode = found.pooling
        self.similarity: SimilarityName = found.similarity
        self._include_prompt = found.include_prompt
        rank_zero_info(
            f"pooling: {found.pooling}, similarity: {found.similarity} ({found.origin}; "
            "model.pooling and model.similarity change them)"
        )
        # In a tuple, so that it is no submodule: without a gradient, yet there to be exported.
        self._pooler = (getattr(self.encoder, "pooler", None),)
        if self._pooler[0] is not None:
            self.encoder.pooler = None
        if gradient_checkpointing:
            self.encoder.gradient_checkpointing_enable({"use_reentrant": False})
        self._said: set[str] = set()
        self._attention = AttentionSwitch(self.encoder)
        self.train()  # from_pretrained leaves it in eval mode, and Lightning 2.6 keeps modes
        self._shard = EvalShard()

    def _check_numbers(self) -> None:
        faults = []
        for name, value in said(self._given).items():
            positive = name.endswith("temperature")
            if not is_finite_number(value) or value < 0 or (positive and value == 0):
                least = "above 0" if positive else "of at least 0"
                faults.append(f"model.{name}={value!r}: expected a number {least}")
        if not 0 <= self.warmup_ratio <= 1:
            faults.append(f"model.warmup_ratio={self.warmup_ratio!r}: expected a number in [0, 1]")
        if not self.cutoffs or min(self.cutoffs) < 1:
            faults.append(f"model.cutoffs={self.cutoffs!r}: expected one or more integers above 0")
        if faults:
            raise ConfigError("; ".join(faults))

    @property
    def model_settings(self) -> ModelSettings:
        """Temperatures, weights and learning rate in force: given, the recipe's, or the default."""
        datamodule, recipe = self._datamodule, self._recipe
        by_recipe = ModelSettings() if recipe is None else recipe.model
        if recipe is None and isinstance(datamodule, GivesConventions):
            by_recipe = datamodule.model_settings()
        return DEFAULTS | by_recipe | self._given

    @property
    def temperature(self) -> float:
        """What divides the cosine."""
        return cast(float, self.model_settings.temperature)

    @property
    def learning_rate(self) -> float:
        """Of AdamW, at its highest; Lightning's learning-rate finder sets it."""
        return cast(float, self.model_settings.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._given = replace(self._given, learning_rate=float(value))

    def setup(self, stage: str) -> None:
        """Say which settings are in force, and whether the data have other prompts than the model.

        Raises:
            ConfigError: texts that are longer than the encoder's positions; or a file of the model
                that is not what it should be.
        """
        self._said.clear()  # of an earlier run
        if isinstance(datamodule := self._datamodule, GivesLongestInputs):
            for message in check_positions(self.encoder, datamodule.longest_inputs()):
                self._say(message)
        if stage == "fit":
            now = self.model_settings
            rank_zero_info(
                f"temperature: {now.temperature}, learning rate: {now.learning_rate} "
                "(model.temperature and model.learning_rate change them)"
            )
        if isinstance(datamodule, GivesConventions) and datamodule.recipe.name == AUTO:
            own = with_conventions(Recipe(AUTO, {}), self._model_name)
            if own.instructions != datamodule.recipe.instructions:
                rank_zero_warn(
                    f"the encoder {self._model_name} has other prompts ({own.origin}) than those "
                    f"before the data module's texts ({datamodule.recipe.origin}): give both the "
                    "same model, or name a recipe in data.recipe"
                )

    # Embeddings

    def encode(
        self, inputs: Inputs, inverse: Tensor | None = None, prompt_length: int = 0
    ) -> Tensor:
        """Embed tokenized texts: ``[N, D]`` float32, of length 1 if the similarity is the cosine.

        Args:
            inputs: of any layout: what the tokenizer gives, int64 ``[N, L]`` each, padded on
                either side; a list of such chunks; or texts packed in one row.
            inverse: ``[N]`` int64, the row of each text where chunks or unique keys moved it.
            prompt_length: tokens at the beginning of each text that take no part in a mean.

        Raises:
            ConfigError: packed texts, and an encoder that would mix them.
        """
        calls = model_calls(inputs)
        embedding = torch.cat([self._encode_chunk(chunk, prompt_length) for chunk in calls])
        if self.similarity == "cos":
            embedding = F.normalize(embedding, dim=1)
        return embedding if inverse is None else embedding[inverse]

    def _encode_chunk(self, inputs: Mapping[str, Any], prompt_length: int) -> Tensor:
        packed = layout_of(inputs) == "packed"
        self._attention.set(packed)
        if not packed:
            hidden = self.encoder(**inputs).last_hidden_state  # [N, L, D]
            return pool(hidden.float(), inputs["attention_mask"], self.pooling, prompt_length)
        where = positions(self.encoder, inputs["position_ids"])
        hidden = self.encoder(**{**inputs, "position_ids": where}).last_hidden_state  # [1, T, D]
        bounds = inputs["cu_seq_lens_q"]
        return pool_packed(hidden[0].float(), bounds, self.pooling, prompt_length)

    def forward(self, inputs: Inputs, inverse: Tensor | None = None) -> Tensor:
        """:meth:`encode`."""
        return self.encode(inputs, inverse)

    def _embed(self, batch: Batch, name: str) -> Tensor:
        """One side of a batch: ``query`` ``[B, D]``; ``key`` ``[B*G, D]``, key g of query b in row
        ``b * G + g``; or ``content`` ``[n, D]``."""
        prompt_length = 0
        if not self._include_prompt and self.pooling == "mean":
            if f"{name}_prompt_length" not in batch:
                raise ConfigError(
                    f"the encoder {self._model_name} leaves its prompt out of the mean, and the "
                    "batch does not say how long that is (give the data module a tokenizer of the "
                    "same folder, or the collator prompt_lengths=True)"
                )
            prompt_length = batch[f"{name}_prompt_length"]
        return self.encode(batch[name], batch.get(f"{name}_inverse"), prompt_length)

    # Training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; logged as ``train/loss`` and ``train/loss/<task>``, this rank's."""
        loss = self.loss(batch)
        n_queries = len(batch["key_mask"])
        # What a bar shows is read at every step, for which the host waits for the device.
        has_bar = self._trainer is not None and self._trainer.progress_bar_callback is not None
        # No reduction over ranks: it would be one more collective at each step.
        self.log("train/loss", loss, prog_bar=has_bar, batch_size=n_queries)
        self.log(f"train/loss/{one_line(batch['task'])}", loss, batch_size=n_queries)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch's queries of each query's loss; a scalar.

        On several ranks all must call this, at the same step, with the same ``in_batch_negatives``
        and the same shape of ``key_mask``.

        Raises:
            ConfigError: the batch holds pairs for a cross-encoder.
        """
        if "cross" in batch:
            raise ConfigError(
                "data.cross=True: the batch holds (query, key) pairs, and BiEncoder encodes query "
                "and key apart (set data.cross=false, or train a cross-encoder)"
            )
        settings = self.settings_of(batch["task"])
        key_mask, teacher = batch["key_mask"], batch["teacher_scores"]
        query = self._embed(batch, "query")
        keys, target, excluded = self._competing_keys(batch, self._embed(batch, "key"))

        # bfloat16 has 8 bits: a cosine divided by 0.01 would be off by a quarter.
        with torch.autocast(query.device.type, enabled=False):
            scores = query @ keys.T  # [B, K]
            if self.similarity == "cos":
                scores = scores / self.temperature
            contrastive = contrastive_loss(scores, target, excluded, reduction="none")
            if teacher is None:
                return contrastive.mean()
            if settings.stable_distill:
                distillation = stable_distillation(
                    scores, target, teacher, key_mask, excluded, reduction="none"
                )
            else:
                places = torch.arange(key_mask.shape[1], device=target.device)
                own = target[:, None] + places  # [B, G]
                distillation = kl_distillation(
                    scores.gather(1, own),
                    teacher,
                    key_mask,
                    student_temperature=settings.student_temperature,
                    teacher_temperature=settings.teacher_temperature,
                    reduction="none",
                )
            return combine(
                contrastive,
                distillation,
                has_teacher_scores(teacher, key_mask),
                contrastive_weight=settings.contrastive_weight,
                distill_weight=settings.distill_weight,
            ).mean()

    def _competing_keys(self, batch: Batch, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The keys that this rank's queries are scored against, and which of them count.

        Args:
            batch: a training batch.
            key: ``[B*G, D]``, this rank's keys.

        Returns:
            keys: ``[K, D]``, of all ranks where they are gathered.
            target: ``[B]`` int64, the column of each query's first key.
            excluded: ``[B, K]`` bool, no negatives of a query: its known positives, padding, and,
                without in-batch negatives, the keys of other queries.
        """
        keys, key_id, real = key, batch["key_id"], batch["key_mask"].flatten()  # [K, D], [K], [K]
        n_queries, group_size = batch["key_mask"].shape
        query_number = torch.arange(n_queries, device=key.device)
        target = query_number * group_size
        if self.gather_negatives and batch["in_batch_negatives"] and self._num_replicas > 1:
            # The backward pass sums over the ranks what their queries ask of this rank's keys, and
            # DDP divides by the ranks: the gradient of the mean over the global batch.
            keys = cast(Tensor, self.all_gather(key, sync_grads=True)).flatten(0, 1)
            both = cast(Tensor, self.all_gather(torch.stack([key_id, real])))  # [W, 2, B*G]
            key_id, real = both.transpose(0, 1).flatten(1)
            target = target + self.global_rank * len(key)
        excluded = known_positive_mask(key_id, batch["positive_id"]) | (real == 0)
        if not batch["in_batch_negatives"]:
            query_of_key = torch.arange(len(keys), device=key.device) // group_size
            excluded |= query_of_key != query_number[:, None]
        return keys, target, excluded

    def settings_of(self, task: str) -> LossSettings:
        """How a task is trained: the arguments that were given, then the recipe's word of the task,
        then of the model, then :data:`DEFAULTS`."""
        datamodule, in_force = self._datamodule, TaskSettings()
        if isinstance(datamodule, GivesTaskSettings):
            in_force = datamodule.task_settings(task)
        of_task = in_force if self._recipe is None else self._recipe.settings(task)
        stable = of_task.stable_distill
        if stable is None:
            stable = in_force.stable_distill
        names = [one.name for one in fields(LossSettings)]
        values = said(self.model_settings) | said(of_task) | said(self._given)
        values["stable_distill"] = bool(stable)
        return LossSettings(**{name: values[name] for name in names})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, and a learning rate that rises, then follows ``schedule``, step by step.

        Raises:
            ConfigError: a schedule over a run without an end.
        """
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},  # biases, norms
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)
        if self.schedule == "constant" and self.warmup_ratio == 0:
            return optimizer
        n_steps = self.trainer.estimated_stepping_batches
        if math.isinf(n_steps):
            raise ConfigError(
                f"model.schedule={self.schedule!r} with model.warmup_ratio={self.warmup_ratio}: "
                "the run has no end (set trainer.max_steps or trainer.max_epochs, or "
                "model.schedule=constant and model.warmup_ratio=0)"
            )
        scheduler = get_scheduler(
            "constant_with_warmup" if self.schedule == "constant" else self.schedule,
            optimizer,
            num_warmup_steps=math.ceil(n_steps * self.warmup_ratio),
            num_training_steps=int(n_steps),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Forget what an evaluation that was cut short may have left."""
        self._shard = EvalShard()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Encode a batch of queries or of a corpus and keep it; ranks do not meet here."""
        name = batch["dataset"]
        self._shard.loader[name] = dataloader_idx
        if "content" in batch:
            if len(batch["index"]):
                part = _on_cpu(self._embed(batch, "content")), _on_cpu(batch["index"])
                self._shard.corpora.setdefault(name, []).append(part)
            return
        if not len(batch["row"]):
            return
        embedding, ranked = self._embed(batch, "query"), None
        if "key" in batch:
            keys = self._embed(batch, "key").view(*batch["key_mask"].shape, embedding.shape[1])
            # Not a matrix product, which mixed precision would round.
            scores = (embedding[:, None] * keys).sum(2)  # [n, G]
            no_key = batch["key_mask"] == 0
            ranked = rerank_order(scores, batch["key_index"].masked_fill(no_key, -1))
            embedding = embedding[:, :0]
        queries = EvalQueries(
            corpus=batch.get("corpus"),
            embedding=_on_cpu(embedding),
            row=_on_cpu(batch["row"]),
            positives=_on_cpu(batch["pos_index"]),
            ranked=None if ranked is None else _on_cpu(ranked),
        )
        self._shard.queries.setdefault(name, []).append(queries)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """:meth:`validation_step`."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Search, and log ``val/<eval set>/mrr@10`` etc., and the mean of the sets, ``val/mrr@10``.

        Nothing is logged of the sanity check, which sees but a few batches of a corpus; nor of an
        eval set where the trainer's limits leave out a part of its corpus, and then no mean.
        """
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """As after validation, under ``test/``."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        shard, self._shard = self._shard, EvalShard()
        measured, is_whole = self._evaluate(shard)
        if self.trainer.sanity_checking:
            return
        values = {
            f"{stage}/{one_line(eval_set)}/{name}": value
            for eval_set, metrics in measured.items()
            for name, value in metrics.items()
        }
        names = dict.fromkeys(name for metrics in measured.values() for name in metrics)
        for name in names if is_whole else ():
            having = [metrics[name] for metrics in measured.values() if name in metrics]
            values[f"{stage}/{name}"] = math.fsum(having) / len(having)
        # All ranks have the same values already. The greatest of them is that value to the last
        # bit, which a mean over three ranks need not be, and Lightning does not warn.
        for name, value in values.items():
            self.log(name, value, sync_dist=True, reduce_fx="max", batch_size=1)

    def _evaluate(self, shard: EvalShard) -> tuple[dict[str, dict[str, float]], bool]:
        """The metrics of each eval set, and whether no limit of the trainer left one of them out.

        The same on every rank; all ranks must call this.
        """
        own_limited = [name for name, loader in shard.loader.items() if self._is_limited(loader)]
        everyone = self._gather_objects((shard.own_queries(), sorted(shard.corpora), own_limited))
        corpora = {name for _, names, _ in everyone for name in names}
        limited = {name for _, _, names in everyone for name in names}
        measured, is_whole = {}, True
        for name in sorted({name for queries, _, _ in everyone for name in queries}):
            queries = EvalQueries.joined([owned[name] for owned, _, _ in everyone if name in owned])
            if queries.ranked is not None:
                retrieved = queries.ranked
            elif queries.corpus in limited:
                is_whole = False
                self._say(
                    f"eval set {name!r}: no metrics, for {self._limit} leaves out a part of its "
                    f"corpus {queries.corpus!r}, in which right passages may be (evaluate on all "
                    "batches; a smaller eval set takes less time)"
                )
                continue
            elif queries.corpus in corpora:
                retrieved = self._search(queries, shard)
            else:
                self._say(
                    f"eval set {name!r}: no metrics, for no batch of its corpus {queries.corpus!r} "
                    "came (give data.corpus, or set data.eval_method=rerank)"
                )
                continue
            n_without = int((queries.positives < 0).all(1).sum())
            if n_without:
                self._say(
                    f"eval set {name!r}: {n_without} of {len(queries.row)} queries have no "
                    "positive and are left out of the metrics"
                )
            if name in limited:
                self._say(
                    f"eval set {name!r}: the metrics are over {len(queries.row)} of its queries, "
                    f"for {self._limit} leaves out the others"
                )
            measured[name] = retrieval_metrics(retrieved, queries.positives, self.cutoffs)
        return measured, is_whole

    def _is_limited(self, loader: int) -> bool:
        """Whether the trainer takes fewer batches of a loader than it has, on this rank."""
        loop = _evaluation_loop(self.trainer)
        assert loop._combined_loader is not None
        n_batches = sized_len(loop._combined_loader.flattened[loader])
        return n_batches is not None and loop._max_batches[loader] < n_batches

    @property
    def _limit(self) -> str:
        """The trainer's setting that leaves batches out of an evaluation."""
        trainer = self.trainer
        name = "limit_test_batches" if trainer.testing else "limit_val_batches"
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            name = "fast_dev_run"
        elif trainer.overfit_batches and not trainer.testing:  # type: ignore[attr-defined]
            name = "overfit_batches"
        return f"trainer.{name}={getattr(trainer, name)}"

    def _search(self, queries: EvalQueries, shard: EvalShard) -> Tensor:
        """Index of the best corpus rows over all ranks, ``[Q, k]``; all ranks must call this."""
        k, block = max(self.cutoffs), 4096
        embedding, index = shard.corpus(cast(str, queries.corpus), queries.embedding.shape[1])
        scores, found = top_k(queries.embedding.to(self.device), embedding, index, k)
        if self._num_replicas == 1:
            return found.cpu()
        merged = []
        for start in range(0, len(found), block):  # W * Q * k at once may not fit
            # [W, q, k] to [q, W*k]
            wide_scores, wide_index = (
                cast(Tensor, self.all_gather(part)).transpose(0, 1).flatten(1).cpu()
                for part in (scores[start : start + block], found[start : start + block])
            )
            merged.append(merge_top_k(wide_scores, wide_index, k)[1])
        return torch.cat(merged)

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Embed a corpus batch: index ``[n]`` int64, embedding ``[n, D]`` float32, on the CPU."""
        return {
            "index": _on_cpu(batch["index"]),
            "embedding": _on_cpu(self._embed(batch, "content")),
        }

    # Export

    def export(
        self, path: str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        """Write the encoder for AutoModel and for SentenceTransformer; rank 0 writes.

        Args:
            path: a folder, made if it is not there.
            tokenizer: written beside the encoder. None: the data module's, else that of the name
                ``encoder``, else none, with a warning.
        """
        if self.global_rank != 0:
            return
        folder = Path(path)
        weights = self.encoder.state_dict()
        if self._pooler[0] is not None:
            weights |= self._pooler[0].state_dict(prefix="pooler.")
        self.encoder.save_pretrained(folder, state_dict=weights)

        tokenizer = tokenizer or getattr(self._datamodule, "tokenizer", None)
        if not isinstance(tokenizer, PreTrainedTokenizerBase) and "encoder" in self.hparams:
            tokenizer = AutoTokenizer.from_pretrained(self.hparams["encoder"])
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer.save_pretrained(folder)
        else:
            logger.warning(
                "%s has no tokenizer: give one to export(tokenizer=...)", one_line(folder)
            )

        modules = ["Transformer", "Pooling", *(["Normalize"] if self.similarity == "cos" else [])]
        places = ["", *(f"{i}_{name}" for i, name in enumerate(modules) if i)]
        for place in places:
            (folder / place).mkdir(exist_ok=True)
        # The names that sentence-transformers has read since 2.0, and still does (6.2).
        _write_json(
            folder / "modules.json",
            [
                {
                    "idx": i,
                    "name": str(i),
                    "path": place,
                    "type": f"sentence_transformers.models.{name}",
                }
                for i, (name, place) in enumerate(zip(modules, places, strict=True))
            ],
        )
        _write_json(
            folder / "1_Pooling" / "config.json",
            {
                "word_embedding_dimension": self.encoder.config.hidden_size,
                "pooling_mode_cls_token": self.pooling == "cls",
                "pooling_mode_mean_tokens": self.pooling == "mean",
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
                "pooling_mode_lasttoken": self.pooling == "last",
            },
        )
        _write_json(
            folder / PROMPT_FILE,
            {
                "similarity_fn_name": {"cos": "cosine", "dot": "dot"}[self.similarity],
                "prompts": self._prompts(),
            },
        )

    def _prompts(self) -> dict[str, str]:
        """What a later user must put before texts: the instructions that the data module did.

        Tasks that have instructions of their own have prompts of their own names.
        """
        datamodule = self._datamodule
        if not isinstance(datamodule, GivesConventions):
            recipe = with_conventions(Recipe(AUTO, {}), self._model_name)
            tasks = {task: recipe.instruction(task) for task in recipe.instructions}
        else:
            tasks = {task: datamodule.instruction(task) for task in datamodule.recipe.instructions}
        default = getattr(datamodule, "default_task", None)
        usual = tasks.get(ANY_TASK) or tasks.get(default or "") or next(iter(tasks.values()))
        prompts = {"query": usual.query, "document": usual.key}
        for task, instruction in tasks.items():
            if instruction != usual:
                prompts |= {
                    f"{task}{QUERY_SUFFIX}": instruction.query,
                    f"{task}{KEY_SUFFIX}": instruction.key,
                }
        return prompts

    # The trainer, which a notebook may not have

    @property
    def _attached(self) -> lightning.Trainer | None:
        try:
            return self.trainer
        except RuntimeError:  # Lightning's answer where there is none
            return None

    @property
    def _datamodule(self) -> lightning.LightningDataModule | None:
        return getattr(self._attached, "datamodule", None)

    @property
    def _num_replicas(self) -> int:
        return 1 if self._attached is None else self._attached.world_size

    def _say(self, message: str) -> None:
        """Warn on rank 0, once a run; not in the sanity check, which sees a part only."""
        if self.trainer.sanity_checking or message in self._said:
            return
        self._said.add(message)
        if self.global_rank == 0:
            logger.warning(printable(message))

    def _gather_objects(self, value: Any) -> list[Any]:
        """``value`` of every rank, in the order of the ranks."""
        if self._num_replicas == 1:
            return [value]
        values = [None] * self._num_replicas
        dist.all_gather_object(values, value)
        return values


def _evaluation_loop(trainer: lightning.Trainer) -> _EvaluationLoop:
    if trainer.testing:
        return trainer.test_loop
    if trainer.state.fn == TrainerFn.VALIDATING:
        return trainer.validate_loop
    return trainer.fit_loop.epoch_loop.val_loop


def pool(
    hidden: Tensor, attention_mask: Tensor, pooling: PoolingMode, prompt_length: int = 0
) -> Tensor:
    """One vector per text from its tokens; padding has no say, on whichever side it is.

    Args:
        hidden: ``[N, L, D]``.
        attention_mask: ``[N, L]`` int64, 0 where a token is padding.
        pooling: ``cls``: the first token; ``mean``: of all tokens; ``last``: the last token.
        prompt_length: tokens at the beginning of each text that a mean leaves out.

    Returns:
        ``[N, D]``.

    >>> hidden, mask = torch.tensor([[[9.0], [1.0], [3.0]]]), torch.tensor([[0, 1, 1]])
    >>> [pool(hidden, mask, how).item() for how in ("cls", "mean", "last")]
    [1.0, 2.0, 3.0]
    """
    if pooling == "mean":
        real = attention_mask.bool() & (attention_mask.cumsum(1) > prompt_length)  # [N, L]
        total = hidden.masked_fill(~real[:, :, None], 0.0).sum(1)
        return total / real.sum(1, keepdim=True).clamp(min=1)
    if pooling == "cls":
        place = attention_mask.argmax(1)  # [N], of the first 1
    else:
        place = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), place]


def pool_packed(
    hidden: Tensor, bounds: Tensor, pooling: PoolingMode, prompt_length: int = 0
) -> Tensor:
    """:func:`pool` of texts packed in one row; a text without a token gives zeros.

    Args:
        hidden: ``[T, D]``.
        bounds: ``[N+1]`` int, where each text begins, and the end.
        pooling: as in :func:`pool`.
        prompt_length: as in :func:`pool`.

    Returns:
        ``[N, D]``.

    >>> hidden, bounds = torch.tensor([[9.0], [1.0], [3.0]]), torch.tensor([0, 1, 3])
    >>> [pool_packed(hidden, bounds, how).tolist() for how in ("cls", "mean", "last")]
    [[[9.0], [1.0]], [[9.0], [2.0]], [[9.0], [3.0]]]
    """
    lengths = bounds.diff()[:, None]  # [N, 1]
    if pooling == "mean":
        text = text_of_token(bounds, len(hidden))
        if prompt_length:
            place = torch.arange(len(hidden), device=hidden.device) - bounds[text]
            hidden = hidden.masked_fill((place < prompt_length)[:, None], 0.0)
            lengths = lengths - prompt_length
        total = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, text, hidden)
        return total / lengths.clamp(min=1)
    place = bounds[:-1] if pooling == "cls" else bounds[1:] - 1
    return hidden[place.clamp(0, len(hidden) - 1)].masked_fill(lengths == 0, 0.0)


def _plain(given: Any, recipe: Recipe) -> str | dict[str, Any]:
    """A recipe as a checkpoint may hold it, which ``load_recipe`` reads again."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    return {
        "name": recipe.name,
        "instruction": {task: asdict(texts) for task, texts in recipe.instructions.items()} or None,
        "training": {task: said(settings) for task, settings in recipe.training.items()},
        "model": said(recipe.model),
        "task_description": dict(recipe.task_descriptions),
    }


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
