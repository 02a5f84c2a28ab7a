"""A bi-encoder for use in other libraries: a sentence-transformers folder, or an mteb object."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import lightning
from lightning.pytorch.utilities.seed import isolate_rng
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.training.encoder.embedding_module import EmbeddingModule
from llm_embedder_data.training.encoder.eval_mode import evaluating, on_device
from llm_embedder_data.training.export.encoder_export import (
    EncoderExport,
    longest_of_model,
    prompts_to_export,
)
from llm_embedder_data.training.export.mteb_encoder import MtebEncoder
from llm_embedder_data.training.export.run_record import RunRecord
from llm_embedder_data.training.retrieval_module import RetrievalModule

logger = logging.getLogger(__name__)


class EncoderFormats(RetrievalModule, EmbeddingModule):
    """Exports its encoder to a folder, or wraps it for mteb."""

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

        The folder appears complete or not at all. It holds the prompts, the pooling, the maximum
        length of texts, the similarity, and a model card.

        Args:
            path: a folder that does not exist, or is empty.
            tokenizer: the tokenizer to save beside the encoder. None takes the data module's, or
                that of the folder or hub name ``encoder`` if there is no data module; if there is
                neither, a warning is logged.
            datamodule: the source of the folder's prompts and maximum length. None takes the
                trainer's data module, or, without a trainer, the encoder's own prompts and length.
            max_length: maximum number of tokens of a text, special tokens included. None takes the
                data module's key length, or the encoder's limit if there is no data module.
            run: facts about the training for the model card. None takes them from the trainer.
            overwrite: whether to replace an existing folder, if it holds an exported model.
            check: whether to load the folder again, with sentence-transformers if it is installed,
                and compare token ids and vectors of probe texts.

        Raises:
            ConfigError: the folder exists and ``overwrite`` does not allow replacing it; or the
                folder, loaded again, gives other token ids or vectors. In both cases nothing is
                written.
        """
        if self.global_rank != 0:
            return
        datamodule = datamodule or self._datamodule
        tokenizer = tokenizer or self._tokenizer_of(datamodule)
        if tokenizer is None:
            logger.warning(
                "%s has no tokenizer: give one to export(tokenizer=...)", one_line(Path(path))
            )
        with isolate_rng(), evaluating(self):  # so that an export does not change the training
            EncoderExport(
                encoder=self.encoder,
                pooler=self._pooler[0],
                tokenizer=tokenizer,
                model_name=self._model_name,
                pooling=self.pooling,
                include_prompt=self.include_prompt,
                similarity=self.similarity,
                dense_layers=self.dense_layers,
                encode=lambda inputs, n: self.encode(on_device(inputs, self.device), None, n),
                datamodule=datamodule,
                max_length=max_length,
                run=run or RunRecord.of_trainer(self._attached, self.hparams),
            ).write(path, overwrite=overwrite, check=check)

    def longest_input(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the maximum length of a text in tokens, from the model's and tokenizer's files."""
        return longest_of_model(self._model_name, self.encoder, tokenizer)[0]

    def to_mteb(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        query_max_length: int = 256,
        key_max_length: int = 256,
    ) -> MtebEncoder:
        """Return a wrapper of this encoder for ``mteb.evaluate(...)``.

        The wrapper shares the encoder's weights, so further training changes its results. It uses
        the same prompts as :meth:`export`.

        Args:
            tokenizer: the tokenizer to use. None takes the data module's, or that of the folder or
                hub name ``encoder`` if there is no data module.
            query_max_length: maximum number of tokens of a query, special tokens included.
            key_max_length: maximum number of tokens of a document, special tokens included.

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
