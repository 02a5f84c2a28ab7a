"""Offers this package's config groups to every Hydra application, as ``llm_embedder_data/<group>``.

Every Hydra application imports all modules of the namespace package ``hydra_plugins`` when it
starts. So this module imports only Hydra, to start fast.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LlmEmbedderDataGroups(SearchPathPlugin):
    """Appends the groups to the search path, after the application's folders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the package ``hydra_groups``; its folder ``llm_embedder_data`` has the groups."""
        search_path.append("llm_embedder_data", "pkg://llm_embedder_data.hydra_groups")
