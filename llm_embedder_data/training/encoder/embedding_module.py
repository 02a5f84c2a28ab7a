"""An encoder with its pooling, which embeds tokenized texts in any layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from transformers import PreTrainedModel

from llm_embedder_data.batches.tokens.model_inputs import layout_of
from llm_embedder_data.config.model_pooling import pooled
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.mining.text_embedder import CPU_BATCH_TOKENS
from llm_embedder_data.training.encoder.activation_checkpointing import checkpoint_activations
from llm_embedder_data.training.encoder.adapters import base_of, with_lora
from llm_embedder_data.training.encoder.bidirectional import attend_both_ways, check_both_ways
from llm_embedder_data.training.encoder.dense_layers import dense_settings, load_dense_layers
from llm_embedder_data.training.encoder.encoder_calls import (
    EncoderCall,
    TextCalls,
    TokenizedTexts,
    encoder_calls,
)
from llm_embedder_data.training.encoder.encoder_loading import load_encoder
from llm_embedder_data.training.encoder.packed_attention import AttentionSwitch, position_ids_for
from llm_embedder_data.training.encoder.pooling import pool, pool_packed

Pooling = PoolingMode | Literal["auto"]
Similarity = SimilarityName | Literal["auto"]

# A batch of RetrievalDataModule, for training or evaluation; docs/batch-keys.md lists its entries.
RetrievalBatch = Mapping[str, Any]

# Entries of a model's configuration that do not affect its embeddings.
_NO_EMBEDDING_SETTINGS = {
    "_name_or_path",
    "architectures",
    "dtype",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}

# Settings of peft's adapters that affect embeddings even if the weights are the same.
_ADAPTER_SCALES = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


class EmbeddingModule(lightning.LightningModule):
    """Embeds tokenized texts. A subclass calls ``_take_encoder`` in its ``__init__``.

    Attributes:
        encoder: the transformers model, without its pooler, or a PeftModel around it.
        dense_layers: the layers that the model's files put after the pooling; most have none.
        pooling: how token vectors become the embedding of a text.
        similarity: how embeddings are compared.
        include_prompt: whether mean pooling includes the prompt's tokens.
        embedding_size: number of dimensions of an embedding.
    """

    encoder: PreTrainedModel
    dense_layers: nn.Sequential
    pooling: PoolingMode
    similarity: SimilarityName
    include_prompt: bool

    def _take_encoder(
        self,
        encoder: str | PreTrainedModel,
        pooling: Pooling,
        similarity: Similarity,
        *,
        gradient_checkpointing: bool,
        bidirectional: bool,
        lora: Mapping[str, Any] | None,
    ) -> None:
        """Load and prepare the encoder. The arguments are those of ``BiEncoder``."""
        loaded = load_encoder(encoder)
        base = base_of(loaded)
        self._model_name = encoder if isinstance(encoder, str) else base.name_or_path or None
        self._choose_pooling(pooling, similarity, base)
        # In a tuple, so that torch does not register it as a submodule.
        self._pooler = (getattr(base, "pooler", None),)
        if self._pooler[0] is not None:
            base.pooler = None  # type: ignore[assignment]
        if bidirectional or getattr(base.config, "is_causal", None) is False:
            attend_both_ways(base)
        if bidirectional:
            check_both_ways(base)
        if gradient_checkpointing:
            checkpoint_activations(base)
        self.encoder = loaded if lora is None else with_lora(loaded, lora)
        self._attention = AttentionSwitch(base)
        self.train()  # from_pretrained returns models in eval mode, and Lightning 2.6 keeps modes

    def _choose_pooling(
        self, pooling: Pooling, similarity: Similarity, encoder: PreTrainedModel
    ) -> None:
        chosen = pooled(
            self._model_name,
            encoder.config,
            pooling=None if pooling == "auto" else pooling,
            similarity=None if similarity == "auto" else similarity,
        )
        self.pooling: PoolingMode = chosen.pooling
        self.similarity: SimilarityName = chosen.similarity
        self.include_prompt = chosen.include_prompt
        hidden_size = cast(int, encoder.config.hidden_size)
        self.dense_layers = load_dense_layers(self._model_name, chosen.dense, hidden_size)
        of_layers = [int(layer["out_features"]) for layer in dense_settings(self.dense_layers)]
        widths = [hidden_size, *of_layers]
        self.embedding_size: int = widths[-1]
        dense = f"dense layers: {' > '.join(map(str, widths))}, " if chosen.dense else ""
        rank_zero_info(
            f"pooling: {chosen.pooling}, {dense}similarity: {chosen.similarity} ({chosen.origin}; "
            "model.pooling and model.similarity change them)"
        )

    def encode(
        self,
        inputs: TokenizedTexts,
        inverse: Tensor | None = None,
        prompt_length: int | Tensor | None = None,
    ) -> Tensor:
        """Embed tokenized texts.

        Args:
            inputs: texts in any layout: the tokenizer's output, int64 ``[N, L]`` each, padded on
                either side; a list of such chunks; or texts packed in one row.
            inverse: ``[N]`` int64, the row of ``inputs`` that holds each text, needed if texts were
                sorted into chunks or equal keys share a row. None: text i is in row i.
            prompt_length: number of tokens at the start of each text that mean pooling leaves out:
                one number, or ``[N]`` int64. An encoder that leaves its prompt out of the mean
                needs it, 0 for texts without a prompt; to others it makes no difference.

        Returns:
            ``[N, D]`` float32, normalized if the similarity is the cosine.

        Raises:
            ConfigError: the texts are strings; the encoder leaves its prompt out of the mean, and
                ``prompt_length`` is not given; or the texts are packed, and the encoder would let
                them attend to each other.
        """
        if isinstance(inputs, str) or (
            isinstance(inputs, list) and any(isinstance(text, str) for text in inputs)
        ):
            raise ConfigError(
                "encode() was given strings, and takes tokenized texts (give tokenizer(texts, "
                'padding=True, return_tensors="pt"); or export the encoder, and embed texts with '
                "sentence-transformers)"
            )
        if prompt_length is None:
            if self._needs_prompt_length:
                raise ConfigError(
                    f"the encoder {self._model_name} leaves its prompt out of the mean, and "
                    "encode() was not told how long the prompt is (give "
                    'prompt_length=batch["query_prompt_length"], or the key_ or content_ one; 0 '
                    "for texts without a prompt)"
                )
            prompt_length = 0
        texts = encoder_calls(inputs, inverse, prompt_length)
        return texts.in_order(torch.cat([self._encode_call(call) for call in texts.calls]))

    def embedding_facts(self) -> dict[str, Any]:
        """Return the settings that embeddings depend on, as plain JSON.

        They are part of an embedding store's fingerprint. Weights, tokens and precision are not
        included.
        """
        config = base_of(self.encoder).config.to_dict()
        for name in _NO_EMBEDDING_SETTINGS & config.keys():
            del config[name]
        dense = dense_settings(self.dense_layers)
        return {
            "class": type(base_of(self.encoder)).__name__,
            "config": config,
            "pooling": self.pooling,
            "similarity": self.similarity,
            "include_prompt": self.include_prompt,
            **({"dense": dense} if dense else {}),
            "adapters": {
                name: {setting: getattr(adapter, setting, None) for setting in _ADAPTER_SCALES}
                for name, adapter in getattr(self.encoder, "peft_config", {}).items()
            },
        }

    def forward(
        self,
        inputs: TokenizedTexts,
        inverse: Tensor | None = None,
        prompt_length: int | Tensor | None = None,
    ) -> Tensor:
        """Embed tokenized texts; see :meth:`encode`."""
        return self.encode(inputs, inverse, prompt_length)

    @property
    def _needs_prompt_length(self) -> bool:
        """Whether an embedding depends on the number of tokens of its text's prompt."""
        return not self.include_prompt and self.pooling == "mean"

    def _encode_call(self, call: EncoderCall) -> Tensor:
        """Embed the texts of one call of the encoder, ``[n, D]`` float32."""
        inputs, prompt_length = call
        packed = layout_of(inputs) == "packed"
        self._attention.set(packed)
        if packed:
            position_ids = position_ids_for(self.encoder, inputs["position_ids"])
            hidden = self.encoder(**{**inputs, "position_ids": position_ids}).last_hidden_state
            bounds = inputs["cu_seq_lens_q"]  # the hidden states are [1, T, D]
            embedding = pool_packed(hidden[0].float(), bounds, self.pooling, prompt_length)
        else:
            hidden = self.encoder(**inputs).last_hidden_state  # [N, L, D]
            mask = inputs["attention_mask"]
            embedding = pool(hidden.float(), mask, self.pooling, prompt_length)
        embedding = self.dense_layers(embedding).float()
        return F.normalize(embedding, dim=1) if self.similarity == "cos" else embedding

    def _calls(
        self,
        batch: RetrievalBatch,
        side: str,
        mini_batch_size: int | None = None,
        max_tokens: int | None = None,
    ) -> TextCalls:
        """Return the calls of the encoder for a side of a batch: see :meth:`_embed`."""
        prompt_length: int | Tensor = 0
        if self._needs_prompt_length:
            if f"{side}_prompt_length" not in batch:
                raise ConfigError(
                    f"the encoder {self._model_name} leaves its prompt out of the mean, but the "
                    "batch does not say how long the prompt is (give the data module the tokenizer "
                    "of the same folder, or the collator prompt_lengths=True)"
                )
            prompt_length = batch[f"{side}_prompt_length"]
        inverse = batch.get(f"{side}_inverse")
        return encoder_calls(batch[side], inverse, prompt_length, mini_batch_size, max_tokens)

    def _embed(self, batch: RetrievalBatch, side: str) -> Tensor:
        """Embed a side of a batch.

        Args:
            batch: a batch of the data module; or a batch of an embedding store, whose side holds
                finished embeddings, ``[n, D]`` float32, which are returned unchanged.
            side: ``query``, ``key`` or ``content``.

        Returns:
            ``[B, D]`` for ``query``; ``[B*G, D]`` for ``key``, with key g of query b in row
            ``b * G + g``; ``[n, D]`` for ``content``.
        """
        if isinstance(batch[side], Tensor):
            return cast(Tensor, batch[side])
        # The batches of an evaluation are large, to keep an accelerator busy. On a CPU, smaller
        # calls need less memory, and less padding because their texts have similar lengths.
        max_tokens = CPU_BATCH_TOKENS if self.device.type == "cpu" else None
        texts = self._calls(batch, side, max_tokens=max_tokens)
        return texts.in_order(torch.cat([self._encode_call(call) for call in texts.calls]))
