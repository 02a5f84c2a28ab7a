"""Shows this package's config groups to every Hydra application, as ``llm_embedder_data/<group>``.

Hydra looks for plugins in the namespace package ``hydra_plugins`` when it starts, so this module
imports nothing but Hydra.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LlmEmbedderDataGroups(SearchPathPlugin):
    """Appends the groups to the search path, behind those of the application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the package whose only folder, ``llm_embedder_data``, holds the groups."""
        search_path.append("llm_embedder_data", "pkg://llm_embedder_data.hydra_groups")
