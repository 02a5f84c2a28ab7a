"""The files that sentence-transformers reads besides a model's weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_files import MODULES_FILE, PROMPT_FILE, TRANSFORMER_FILE
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.training.encoder.dense_layers import save_dense_layers


def write_encoder_files(
    folder: Path,
    *,
    width: int,
    pooling: PoolingMode,
    include_prompt: bool,
    similarity: SimilarityName,
    dense_layers: nn.Sequential,
    prompts: Mapping[str, str],
    max_length: int,
) -> None:
    """Write the files that make a saved encoder a SentenceTransformer.

    Args:
        folder: an existing folder with the encoder.
        width: number of dimensions of the encoder's hidden states.
        pooling: how token vectors are pooled.
        include_prompt: whether mean pooling includes the prompt's tokens.
        similarity: ``cos`` adds a module that normalizes embeddings.
        dense_layers: the layers between pooling and normalization.
        prompts: texts to put before inputs, by name.
        max_length: maximum number of tokens of a text.
    """
    dense = ["Dense"] * len(dense_layers)
    kinds = ["Transformer", "Pooling", *dense, *(["Normalize"] if similarity == "cos" else [])]
    subfolders = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    for subfolder in subfolders:
        (folder / subfolder).mkdir(exist_ok=True)
    # sentence-transformers has read these type names since 2.0, and 6.2 still does.
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": subfolder,
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, (kind, subfolder) in enumerate(zip(kinds, subfolders, strict=True))
    ]
    pooling_config = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_lasttoken": pooling == "last",
        "include_prompt": include_prompt,
    }
    save_dense_layers(dense_layers, [folder / subfolders[2 + i] for i in range(len(dense))])
    similarity_name = {"cos": "cosine", "dot": "dot"}[similarity]
    _write_json(folder / MODULES_FILE, modules)
    _write_json(folder / "1_Pooling" / "config.json", pooling_config)
    _write_json(
        folder / PROMPT_FILE,
        {"similarity_fn_name": similarity_name, "prompts": dict(prompts)},
    )
    _write_json(folder / TRANSFORMER_FILE, {"max_seq_length": max_length, "do_lower_case": False})


def write_cross_encoder_files(folder: Path, *, query_prompt: str) -> None:
    """Write the file that makes a saved classifier a CrossEncoder whose scores are logits.

    Args:
        folder: an existing folder with the classifier.
        query_prompt: the text to put before each query; empty if there is none.
    """
    modules = [
        {
            "idx": 0,
            "name": "0",
            "path": "",
            "type": "sentence_transformers.base.modules.transformer.Transformer",
        }
    ]
    config = {
        "model_type": "CrossEncoder",
        "prompts": {"query": query_prompt} if query_prompt else {},
        "default_prompt_name": "query" if query_prompt else None,
        "activation_fn": IDENTITY,
    }
    _write_json(folder / MODULES_FILE, modules)
    _write_json(folder / PROMPT_FILE, config)
    _write_json(folder / TRANSFORMER_FILE, {"transformer_task": "sequence-classification"})


# The activation function that leaves logits unchanged, by the name sentence-transformers expects.
IDENTITY = "torch.nn.modules.linear.Identity"


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, max_length: int) -> None:
    """Save a copy of a tokenizer with a length limit and without its chat template.

    sentence-transformers 6 would wrap every text in the chat template.

    Args:
        tokenizer: a transformers tokenizer; it is not changed.
        folder: an existing folder.
        max_length: maximum number of tokens of an input, special tokens included.
    """
    saved: Any = copy.deepcopy(tokenizer)
    saved.chat_template = None
    saved.model_max_length = max_length
    saved.save_pretrained(folder)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
