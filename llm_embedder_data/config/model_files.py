"""Reads the JSON files beside a model's weights, from a folder or from the Hugging Face hub.

In these files, sentence-transformers stores how a model pools its tokens and which prompts it was
trained with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from llm_embedder_data.core.errors import ConfigError

PROMPT_FILE = "config_sentence_transformers.json"
MODULES_FILE = "modules.json"
TRANSFORMER_FILE = "sentence_bert_config.json"  # how texts are cut, and arguments for transformers
# Older versions of sentence-transformers named that file after the kind of model.
_TRANSFORMER_FILES = (
    TRANSFORMER_FILE,
    *(
        f"sentence_{kind}_config.json"
        for kind in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)


class UnknownFile(Exception):
    """It is unknown whether a model has a file: it is not cached, and the hub is out of reach."""


def read_model_json(model: str, name: str) -> Any:
    """Return the content of a JSON file of a model, or None if the model has no such file.

    Args:
        model: a folder, or a name on the Hugging Face hub.
        name: path of the file in the model's folder.

    Raises:
        UnknownFile: the file is not cached, and the hub is out of reach.
        ConfigError: the file is not JSON.
    """
    path = find_model_file(model, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: cannot be read as JSON: {error} (repair the file, or replace it by giving "
            "data.recipe and model.pooling)"
        ) from error


def transformer_folder(model: str) -> str:
    """Return the folder of a model's weights and tokenizer, inside the model's own folder.

    Folders that sentence-transformers wrote may keep them in a folder such as ``0_Transformer``,
    which ``modules.json`` names. ``""`` stands for the model's own folder.

    Args:
        model: a folder, or a name on the Hugging Face hub.
    """
    try:
        modules = read_model_json(model, MODULES_FILE)
    except (UnknownFile, ConfigError):  # those who read the pooling from it report the fault
        return ""
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, Mapping) and str(module.get("type")).endswith(".Transformer"):
            return str(module.get("path") or "")
    return ""


def read_transformer_file(model: str) -> Any:
    """Return the content of ``sentence_bert_config.json``, which lies beside a model's weights.

    Returns:
        The parsed JSON, or None if the model has no such file.

    Raises:
        UnknownFile: the file is not cached, and the hub is out of reach.
        ConfigError: the file is not JSON.
    """
    folder = transformer_folder(model)
    for name in _TRANSFORMER_FILES:
        content = read_model_json(model, "/".join(filter(None, (folder, name))))
        if content is not None:
            return content
    return None


def short_name(model: str) -> str:
    """Return the last part of a folder's path, or a hub name unchanged."""
    return last_part(model) if os.path.isdir(os.path.expanduser(model)) else model


def last_part(model: str) -> str:
    """Return the last part of a folder or hub name.

    >>> last_part("intfloat/e5-base-v2")
    'e5-base-v2'
    """
    return model.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def find_model_file(model: str, name: str) -> Path | None:
    """Return the path of a file of a model, or None if the model has no such file.

    Args:
        model: a folder, or a name on the Hugging Face hub.
        name: path of the file in the model's folder.

    Raises:
        UnknownFile: the file is not cached, and the hub is out of reach.
    """
    folder = Path(os.path.expanduser(model))
    if os.path.isdir(folder):
        path = folder / name
        return path if path.is_file() else None
    try:
        cached = try_to_load_from_cache(model, name)
        if cached is not None:  # a path, or the marker that the hub does not have the file
            return Path(cached) if isinstance(cached, str) else None
        return Path(hf_hub_download(model, name))
    except HFValidationError:
        return None  # neither a folder nor a hub name
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise UnknownFile from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise UnknownFile from error
