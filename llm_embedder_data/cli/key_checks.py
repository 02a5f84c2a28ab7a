"""Checks that the keys of settings exist in conf/, before Hydra reads them.

If a key is misspelt, Hydra suggests putting a plus before it, and then accepts the misspelt key.
Here the key is refused, and the message names the most similar key that exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.command_line import CommandLine
from llm_embedder_data.cli.refusals import sentence
from llm_embedder_data.config.composing import CONF_DIR, load_config
from llm_embedder_data.core.errors import ConfigError, did_you_mean

# Below these keys, users may add any key. Elsewhere, an unknown key is a misspelt key.
_OPEN = (
    "data.train_data",
    "data.eval_data",
    "data.corpus",
    "recipe",
    "callbacks",
    "logger",
    "hydra",
)

# Groups that may be left out as a whole.
_REMOVABLE = ("callbacks", "logger")

# Keys of objects that are built from a class. A user may choose another class, whose arguments are
# not in conf/.
_OBJECTS = ("data", "model", "trainer")


def check_keys(line: CommandLine, config_name: str) -> CommandLine:
    """Refuse settings whose key does not exist.

    The arguments of a user's class, of a callback or of a logger are not in conf/, so Hydra
    requires a plus before them. It is added here, as it is for an entry of a mapping that is null
    by default, such as ``model.lora.r``. When the object is built, the class refuses arguments that
    it does not have.

    Args:
        line: the command line.
        config_name: the file in conf/ that the verb's configuration is composed from.

    Returns:
        The command line, with a plus where it is needed.

    Raises:
        ConfigError: a key does not exist, or a choice from a group cannot be made.
    """
    overrides = OverridesParser.create().parse_overrides(list(line.overrides))
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    default = _default(config_name)
    for override in overrides:
        _check_deletion(override, default)
        _check_choice_of_group(override, groups)
        for choice in _swept_choices(override, groups):
            compose([*line.search_path, choice], config_name)
    choices = [str(o.input_line) for o in overrides if _changes_keys(o, groups)]
    is_default = not (choices or line.search_path)
    config = default if is_default else _plain(compose([*line.search_path, *choices], config_name))
    of_users = _objects_of_users_class(overrides, config, default)

    def checked(override: Override) -> str:
        key, text = override.key_or_group, str(override.input_line)
        is_open = any(key == path or key.startswith(f"{path}.") for path in _OPEN)
        if is_open or _is_group(override, groups):
            # callbacks.progress is a node; callbacks.progress.refresh_rate is an argument.
            is_argument = key.count(".") > 1 and key.startswith(("callbacks.", "logger."))
            return _with_plus(override, config) if is_argument else text
        if key.partition(".")[0] in of_users:
            return _with_plus(override, config)
        _check_key(key, config)
        return _with_plus(override, config) if _is_below_null(key, config) else text

    return CommandLine(line.flags, tuple(map(checked, overrides)))


def compose(overrides: Sequence[str], config_name: str) -> DictConfig:
    """Compose a configuration as :func:`load_config` does.

    Raises:
        ConfigError: Hydra or OmegaConf refuses the overrides. The message is theirs.
    """
    try:
        return load_config(overrides, config_name=config_name)
    except HydraException as error:
        raise ConfigError(sentence(error)) from error


@cache
def _default(config_name: str) -> dict[str, Any]:
    """Return a configuration without overrides, composed once per process."""
    return _plain(load_config(config_name=config_name))


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain Python, without resolving interpolations."""
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def _group(override: Override) -> str:
    """Return the group that an override chooses from; for any other override, its key."""
    return override.key_or_group.partition("@")[0]


def _is_group(override: Override, groups: Sequence[str]) -> bool:
    """Return whether an override chooses from a group of conf/ or of Hydra."""
    return _group(override) in groups or _group(override).startswith("hydra/")


def _changes_keys(override: Override, groups: Sequence[str]) -> bool:
    """Return whether an override may add or remove keys: it chooses a file or a class."""
    if override.is_sweep_override():
        return False
    key = override.key_or_group
    return _group(override) in groups or key.endswith("._target_") or key == "hydra.searchpath"


def _objects_of_users_class(
    overrides: Sequence[Override], config: dict[str, Any], default: dict[str, Any]
) -> set[str]:
    """Return the keys of objects whose class may differ from the one in conf/."""
    swept = {_group(override) for override in overrides if override.is_sweep_override()}
    keys = {override.key_or_group for override in overrides}
    return {
        name
        for name in _OBJECTS
        if _target(config, name) != _target(default, name)
        or name in swept
        or f"{name}._target_" in keys
    }


def _target(config: dict[str, Any], name: str) -> Any:
    node = config.get(name)
    return node.get("_target_") if isinstance(node, dict) else None


def _check_deletion(override: Override, default: dict[str, Any]) -> None:
    """Refuse to leave out a key that every configuration needs."""
    group = _group(override)
    if override.is_delete() and group in default and group not in _REMOVABLE:
        raise ConfigError(
            f"{str(override.input_line)!r}: the verb needs {group} (give it another value instead)"
        )


def _check_choice_of_group(override: Override, groups: Sequence[str]) -> None:
    """Refuse a choice from a group that is not a name: Hydra would fail with a traceback."""
    if not _is_group(override, groups) or override.is_delete() or override.is_sweep_override():
        return
    value = override.value()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        group = _group(override)
        ways = [f"{group}.KEY=VALUE sets one of its keys"]
        if group in _REMOVABLE:
            ways.insert(0, f"~{group} leaves it out")
        if group == "recipe":
            ways.insert(0, "data.recipe=... takes a path or a mapping")
        raise ConfigError(
            f"{str(override.input_line)!r}: {group} is a group, from which a name is chosen "
            f"({'; '.join(ways)})"
        )


def _swept_choices(override: Override, groups: Sequence[str]) -> list[str]:
    """Return the overrides for the names that a sweep over a group lists.

    Hydra composes the configuration of a job only when its turn comes, and ends the sweep if a name
    does not exist.
    """
    if not _is_group(override, groups) or not override.is_choice_sweep():
        return []
    key, _, _ = str(override.input_line).partition("=")
    choices = override.value().list  # type: ignore[union-attr]
    return [f"{key}={name}" for name in choices if isinstance(name, str)]


def _with_plus(override: Override, config: dict[str, Any]) -> str:
    """Return an override, with a plus if its key does not exist yet."""
    text = str(override.input_line)
    has_sign = override.is_add() or override.is_force_add() or override.is_delete()
    return text if has_sign or _exists(config, override.key_or_group) else f"++{text}"


def _exists(config: dict[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _is_below_null(key: str, config: dict[str, Any]) -> bool:
    """Return whether a key is an entry of a mapping that is null so far, such as model.lora.r."""
    node: Any = config
    for part in key.split("."):
        if node is None:
            return True
        if not isinstance(node, dict):
            return False
        node = node.get(part)
    return False


def _check_key(key: str, config: dict[str, Any]) -> None:
    """Refuse a key that does not exist. For keys below a plain value, Hydra raises the error."""
    node: Any = config
    path: list[str] = []
    for part in key.split("."):
        if not isinstance(node, dict):
            return
        if part not in node:
            names = [".".join([*path, str(name)]) for name in node]
            near = did_you_mean(".".join([*path, part]), names) or f"; there are {', '.join(names)}"
            raise ConfigError(f"there is no key {key!r}{near}")
        path.append(part)
        node = node[part]
