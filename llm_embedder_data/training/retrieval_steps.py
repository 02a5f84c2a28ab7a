"""The evaluation and prediction steps of a bi-encoder, which encode a batch of texts."""

from __future__ import annotations

from torch import Tensor

from llm_embedder_data.training.encoder.embedding_module import EmbeddingModule, RetrievalBatch
from llm_embedder_data.training.retrieval_module import RetrievalModule


class RetrievalSteps(RetrievalModule, EmbeddingModule):
    """Encodes batches: for an evaluation it passes them to ``evaluator``, else it returns them."""

    def validation_step(
        self, batch: RetrievalBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Encode a batch of queries or passages for the evaluator; ranks do not communicate."""
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
        """Encode a batch for the evaluator; see :meth:`validation_step`."""
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
