"""Settings: composing conf/, building the objects it names, recipes, and encoders' conventions."""

from llm_embedder_data.config.composing import load_config
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.core.errors import ConfigError

__all__ = ["ConfigError", "build", "load_config"]
