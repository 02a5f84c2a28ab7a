"""Settings: composing conf/, building its objects, recipes, and the conventions of encoders."""

from llm_embedder_data.config.composing import load_config
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.core.errors import ConfigError

__all__ = ["ConfigError", "build", "load_config"]
