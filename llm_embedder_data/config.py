"""Where conf/ lives, how it becomes objects, and how a wrong setting is reported."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import llm_embedder_data.conf
from llm_embedder_data.printable import PrintableError

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

CONF_MODULE = "llm_embedder_data.conf"

# conf/ is a folder beside the package in a checkout, and inside it in a wheel.
CONF_DIR = Path(llm_embedder_data.conf.__path__[0])

# Where nested objects of a config, such as a strategy, may come from.
TRUSTED = ("llm_embedder_data", "lightning", "pytorch_lightning", "torch", "transformers")


class ConfigError(PrintableError):
    """A setting that cannot be used: which one, what was found, what is allowed."""


def check_choice(value: Any, allowed: Any, key: str) -> None:
    """Refuse a value outside a ``Literal`` or a sequence of names.

    Raises:
        ConfigError: naming the key, the value, the choices and the nearest spelling.
    """
    choices = [str(choice) for choice in (get_args(allowed) or allowed)]
    if value not in choices:
        raise ConfigError(
            f"{key}={value!r}: expected one of {', '.join(choices)}{did_you_mean(value, choices)}"
        )


def did_you_mean(value: Any, choices: Iterable[Any]) -> str:
    """``"; did you mean 'x'?"``, or nothing where no choice is near."""
    near = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def hydra_base() -> dict[str, str]:
    """The ``version_base`` that Hydra 1.3 wants to be told; later ones deprecate to be told any."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


def load_config(
    overrides: Sequence[str] = (), *, output_dir: str = "outputs", config_name: str = "config"
) -> DictConfig:
    """The configuration that the shell would compose, for notebooks and scripts.

    >>> load_config(["recipe=bge", "data.batch_size=4"]).data.batch_size
    4

    Works where Hydra is initialised already, and leaves that as it was.

    Args:
        overrides: as on the command line.
        output_dir: where a run would write; on the shell that is Hydra's run folder.
        config_name: the file of conf/ to begin with.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    outer = dict(GlobalHydra.instance().__dict__)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONF_MODULE, **hydra_base()):
            return compose(config_name, overrides=[f"output_dir={output_dir}", *overrides])
    finally:
        GlobalHydra.instance().__dict__.update(outer)


def target_class(node: Mapping[str, Any], kind: type[T], key: str) -> type[T]:
    """The class that a config node's ``_target_`` names.

    Raises:
        ConfigError: a target that is missing, cannot be imported, or is no ``kind``.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(
            f"{key}._target_={target!r}: expected the dotted name of a {kind.__name__}"
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_={target!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(f"{key}._target_={target!r} is no {kind.__name__}")
    return found


def build(node: Mapping[str, Any], kind: type[T], key: str, **arguments: Any) -> T:
    """Make the object that a config node describes by its ``_target_``, as plain Python.

    Args:
        node: from Hydra.
        kind: what the object must be an instance of.
        key: of the node, for messages.
        arguments: more, or others, for the target.

    Raises:
        ConfigError: a target that is missing, is no ``kind``, or holds objects from elsewhere than
            :data:`TRUSTED`.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    target_class(node, kind, key)
    target = node["_target_"]
    for nested in _targets(node.values()):
        if nested.partition(".")[0] not in TRUSTED:
            raise ConfigError(
                f"{key}: an object of {nested!r} is asked for; nested targets come from "
                f"{', '.join(TRUSTED)} (make it in a class of your own, named by {key}._target_)"
            )
    options: dict[str, Any] = {"_convert_": "all"}
    if "_execution_whitelist_" in inspect.signature(instantiate).parameters:  # Hydra 1.4
        options["_execution_whitelist_"] = [target, *(f"{package}.*" for package in TRUSTED)]
    try:
        return instantiate(node, **options, **arguments)  # type: ignore[no-any-return]
    except Exception as error:
        # Hydra 1.3 wraps what a constructor raises, 1.4 does not.
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, ConfigError):
            raise cause from None
        raise ConfigError(f"{key}: {target} cannot be made: {cause or error}") from error


def _targets(values: Iterable[Any]) -> list[str]:
    found: list[str] = []
    for value in values:
        if isinstance(value, Mapping):
            found += [str(value["_target_"])] if "_target_" in value else []
            found += _targets(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found += _targets(value)
    return found
