"""``python -m llm_embedder_data.cli``: the same as ``llm-embedder-data``."""

from llm_embedder_data.cli.main import main

main()
