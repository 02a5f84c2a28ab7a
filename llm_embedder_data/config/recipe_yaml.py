"""Reads a recipe's YAML file safely, even if somebody untrusted wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llm_embedder_data.core.errors import ConfigError

# Limits that no real recipe comes near: a recipe is a page of text.
_MAX_BYTES = 1 << 20
_MAX_NODES = 100_000
_MAX_DEPTH = 16


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file in plain Python.

    Aliases are allowed, unless they form a circle or expand a small file into a huge one.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or exceeds the limits.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MAX_BYTES:
            raise ConfigError(
                f"recipe {path}: {n_bytes:,} bytes, expected a page of YAML (is it a data file?)"
            )
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if root is None:
            raise ConfigError(f"recipe {path}: the file is empty (write a recipe, or name another)")
        _check_expanded_size(root, path)
        return OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except RecursionError as error:
        raise ConfigError(f"recipe {path}: it is nested too deep, or in a circle") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"recipe {path} cannot be read: {error} (correct the YAML)") from error


def _check_expanded_size(root: Any, path: Path) -> None:
    """Check a YAML document for circles, deep nesting, and too many nodes after alias expansion.

    Raises:
        ConfigError: it has one of these.
    """
    sizes: dict[int, int] = {}
    ancestors: set[int] = set()

    def size_of(node: Any, depth: int) -> int:
        if depth > _MAX_DEPTH or id(node) in ancestors:
            raise ConfigError(
                f"recipe {path}, line {node.start_mark.line + 1}: it is nested too deep, or an "
                "alias stands inside its own anchor (a recipe has four levels at most)"
            )
        if id(node) not in sizes:
            ancestors.add(id(node))
            sizes[id(node)] = 1 + sum(size_of(child, depth + 1) for child in _children(node))
            ancestors.remove(id(node))
        if sizes[id(node)] > _MAX_NODES:
            raise ConfigError(
                f"recipe {path}: its aliases stand for more than {_MAX_NODES:,} values"
            )
        return sizes[id(node)]

    size_of(root, 0)


def _children(node: Any) -> list[Any]:
    """Return the child nodes of a node: items of a list, or keys and values of a mapping."""
    if isinstance(node.value, str):
        return []
    return [part for item in node.value for part in (item if type(item) is tuple else [item])]
