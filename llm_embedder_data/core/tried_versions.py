"""Versions of other libraries with which this package was tried where it needs their internals.

docs/private-hooks.md lists these internals.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from llm_embedder_data.core.errors import ConfigError

TRIED_VERSIONS = {
    "accelerate": "1.12.0 and 1.15.0",
    "hydra-core": "1.3.8 and 1.4.0rc3",
    "lightning": "2.6.0 and 2.6.6",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}


def internals_changed(library: str, name: str, found: str) -> ConfigError:
    """Return the error for an internal of a library that is not as this package needs it.

    Args:
        library: name of its distribution, a key of :data:`TRIED_VERSIONS`.
        name: of the internal, dotted.
        found: what is there instead.
    """
    try:
        installed = version(library)
    except PackageNotFoundError:
        installed = "of an unknown version"
    return ConfigError(
        f"{library} {installed} is not as this package needs it: {name} {found}. The versions "
        f"tried are {TRIED_VERSIONS[library]} (install one of them, or a newer llm_embedder_data)"
    )
