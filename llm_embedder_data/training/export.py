"""The files that SentenceTransformer reads beside an encoder's weights: modules and prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_embedder_data.config.model_files import MODULES_FILE, PROMPT_FILE
from llm_embedder_data.config.model_prompts import KEY_SUFFIX, QUERY_SUFFIX, with_conventions
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.recipes import ANY_TASK, AUTO, Recipe
from llm_embedder_data.training.data_module_protocols import GivesConventions


def write_sentence_transformers_files(
    folder: Path,
    *,
    width: int,
    pooling: PoolingMode,
    similarity: SimilarityName,
    prompts: Mapping[str, str],
) -> None:
    """Write the files that make a saved encoder a SentenceTransformer.

    Args:
        folder: an existing folder with the encoder.
        width: number of dimensions of the encoder's hidden states.
        pooling: how token vectors are pooled.
        similarity: ``cos`` adds a module that normalizes embeddings.
        prompts: texts to put before inputs, by name.
    """
    kinds = ["Transformer", "Pooling", *(["Normalize"] if similarity == "cos" else [])]
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
    }
    similarity_name = {"cos": "cosine", "dot": "dot"}[similarity]
    _write_json(folder / MODULES_FILE, modules)
    _write_json(folder / "1_Pooling" / "config.json", pooling_config)
    _write_json(
        folder / PROMPT_FILE, {"similarity_fn_name": similarity_name, "prompts": dict(prompts)}
    )


def prompts_to_export(datamodule: object, model_name: str | None) -> dict[str, str]:
    """Return the prompts that users of the exported model must put before their texts.

    They are the instructions that the data module used, or, without a data module, the model's
    own. A task whose instructions differ from the usual ones gets prompts named after the task.

    Args:
        datamodule: the data module that trained the model, or None.
        model_name: folder or hub name of the encoder.
    """
    if isinstance(datamodule, GivesConventions):
        by_task = {task: datamodule.instruction(task) for task in datamodule.recipe.instructions}
    else:
        recipe = with_conventions(Recipe(AUTO, {}), model_name)
        by_task = {task: recipe.instruction(task) for task in recipe.instructions}
    default_task = getattr(datamodule, "default_task", None)
    usual = by_task.get(ANY_TASK) or by_task.get(default_task or "") or next(iter(by_task.values()))
    prompts = {"query": usual.query, "document": usual.key}
    for task, instruction in by_task.items():
        if instruction != usual:
            prompts[f"{task}{QUERY_SUFFIX}"] = instruction.query
            prompts[f"{task}{KEY_SUFFIX}"] = instruction.key
    return prompts


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
