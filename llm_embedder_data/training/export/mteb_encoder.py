"""A wrapper of a BiEncoder for mteb's evaluator (the protocol ``EncoderProtocol`` of mteb 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import move_data_to_device
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.collator import RetrievalDataCollator


class MtebEncoder:
    """Embeds mteb's texts in the same way as the batches of a data module.

    Args:
        model: a BiEncoder.
        tokenizer: the model's tokenizer.
        prompts: the text to put before each text, by mteb's prompt type: ``query``, ``document``.
        max_length: maximum number of tokens of a text, special tokens included, by prompt type.
        prompt_lengths: whether the model leaves the prompt out of mean pooling, and so needs to
            know its length.
    """

    mteb_model_meta = None  # mteb then fills in empty metadata

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompts: Mapping[str, str],
        max_length: Mapping[str, int],
        prompt_lengths: bool,
    ) -> None:
        self._model, self._prompts = model, prompts
        self._collators = {
            kind: RetrievalDataCollator(
                tokenizer, key_max_length=length, prompt_lengths=prompt_lengths
            )
            for kind, length in max_length.items()
        }

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        prompt_type: Any = None,
        batch_size: int = 128,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Embed texts, in batches of similar length.

        Args:
            inputs: batches with a list ``text``.
            prompt_type: ``query`` or ``document``, from mteb's enumeration; None: ``query``.
            batch_size: number of texts per batch.
            kwargs: further arguments that mteb passes (task, split, language); they are ignored.

        Returns:
            ``[N, D]`` float32, in the order of the texts.
        """
        kind = str(getattr(prompt_type, "value", None) or "query")
        texts = [text for batch in inputs for text in batch["text"]]
        order = np.argsort([-len(text) for text in texts], kind="stable")
        embeddings: list[Tensor] = []
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode():
                for start in range(0, len(texts), batch_size):
                    rows = order[start : start + batch_size]
                    embeddings.append(self._embed([texts[row] for row in rows], kind))
        finally:
            self._model.train(was_training)
        found = torch.cat(embeddings).numpy()
        out = np.empty_like(found)
        out[order] = found
        return out

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return all inner products, ``[N, M]``; these are cosines if embeddings are normalized."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Return the inner product of each pair, ``[N]``."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(-1)

    def _embed(self, texts: list[str], kind: str) -> Tensor:
        passages = {
            "content": texts,
            "key_instruction": self._prompts.get(kind, ""),
            "index": np.arange(len(texts)),
        }
        batch = move_data_to_device(self._collators[kind](passages), self._model.device)
        embedding: Tensor = self._model.predict_step(batch, 0)["embedding"]
        return embedding


def _tensor(embeddings: Any) -> Tensor:
    found = torch.as_tensor(embeddings)
    return found[None] if found.ndim == 1 else found
