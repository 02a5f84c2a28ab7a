"""The tested versions of libraries whose internals this package uses.

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
    """Return the error for an internal of a library that differs from what this package expects.

    Args:
        library: the name of its distribution, in :data:`TRIED_VERSIONS`.
        name: the dotted name of the internal.
        found: what is wrong, as the rest of a sentence that begins with the name.
    """
    try:
        installed = version(library)
    except PackageNotFoundError:
        installed = "of an unknown version"
    return ConfigError(
        f"{library} {installed} is not as this package needs it: {name} {found}. The versions "
        f"tried are {TRIED_VERSIONS[library]} (install one of them, or a newer llm_embedder_data)"
    )
