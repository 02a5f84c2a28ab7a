"""Builds the objects that a configuration names by ``_target_``, after checking every target."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from llm_embedder_data.config.argument_types import check_types_of
from llm_embedder_data.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


def target_class(node: Mapping[str, Any], kind: type[T], key: str) -> type[T]:
    """Return the class that a config node's ``_target_`` names.

    Raises:
        ConfigError: the target is missing, cannot be imported, or is not a subclass of ``kind``.
    """
    found = _located(node, key, f"a {kind.__name__}")
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(f"{key}._target_={node['_target_']!r} is no {kind.__name__}")
    return found


def build(node: Mapping[str, Any], kind: type[T], key: str, **arguments: Any) -> T:
    """Build the object that a config node describes by its ``_target_``.

    Hydra's ``instantiate`` calls whatever a node names, at any depth. This function checks every
    target before it builds the first object; :func:`check_nested` has the rules for nested nodes.
    ``_args_`` and ``_partial_`` work as in Hydra. With ``_recursive_: false`` the class gets its
    nested nodes as mappings. Containers are always plain Python; ``_convert_`` is ignored.

    Args:
        node: the node, as Hydra composed it.
        kind: class that the object must be an instance of.
        key: dotted name of the node, for messages.
        arguments: further arguments for the target; they override the node's.

    Raises:
        ConfigError: a target is missing, is of another class, or is not allowed in its position; or
            a class does not accept an argument, or raises an error.
    """
    from omegaconf import OmegaConf

    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    found = target_class(node, kind, key)
    if node.get("_partial_"):
        raise ConfigError(f"{key}._partial_=true: an object is needed here, not a partial function")
    check_nested(node, key, found)
    return _made({**node, **arguments}, key)  # type: ignore[no-any-return]


# Classes that nested nodes may name, at any depth, and their subclasses. Other classes could do
# anything when called (subprocess.Popen is a class), so only the user's own package may bring them.
NESTED = (
    "torch.nn.Module",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "torch.distributed.fsdp.CPUOffload",
    "torch.distributed.fsdp.MixedPrecision",
    "torch.distributed.fsdp.wrap.CustomPolicy",
    "torch.distributed.fsdp.wrap.ModuleWrapPolicy",
    "transformers.PreTrainedConfig",
    "transformers.PreTrainedTokenizerBase",
    "lightning.pytorch.Callback",
    "lightning.pytorch.accelerators.Accelerator",
    "lightning.pytorch.callbacks.RichProgressBar",
    "lightning.pytorch.callbacks.progress.rich_progress.RichProgressBarTheme",
    "lightning.pytorch.loggers.Logger",
    "lightning.pytorch.profilers.Profiler",
    "lightning.fabric.strategies.Strategy",
    "lightning.pytorch.strategies.Strategy",
    "lightning.fabric.plugins.CheckpointIO",
    "lightning.fabric.plugins.ClusterEnvironment",
    "lightning.fabric.plugins.Precision",
    "lightning.pytorch.plugins.LayerSync",
    "datetime.timedelta",
    "pathlib.PurePath",
)

# Classes that the trainer's arguments must be instances of.
_OF_TRAINER = {
    "accelerator": ("lightning.pytorch.accelerators.Accelerator",),
    "strategy": ("lightning.pytorch.strategies.Strategy",),
    "profiler": ("lightning.pytorch.profilers.Profiler",),
    "max_time": ("datetime.timedelta",),
    "default_root_dir": ("pathlib.PurePath",),
    "plugins": (
        "lightning.fabric.plugins.CheckpointIO",
        "lightning.fabric.plugins.ClusterEnvironment",
        "lightning.fabric.plugins.Precision",
        "lightning.pytorch.plugins.LayerSync",
    ),
}

# Modules whose functions, such as losses, a model may be given with ``_partial_: true``.
_FUNCTIONS = ("torch.nn.functional", "torch.nn.init", "transformers.optimization")

# Packages that never count as the user's own: libraries and the standard library.
_LIBRARIES = {"lightning", "pytorch_lightning", "torch", "transformers", "hydra", "omegaconf"}
_LIBRARIES |= {"datasets", "numpy", "pyarrow", "tokenizers", "torchmetrics", "builtins", "fsspec"}
_LIBRARIES |= sys.stdlib_module_names


def check_nested(node: Mapping[str, Any], key: str, outer: type) -> None:
    """Check that every nested ``_target_`` of a config node is allowed, before building objects.

    - Inside ``data``, none is allowed. A source is a path or plain values, and a settings file from
      somebody else must not run code.
    - Elsewhere, a nested target must be a class: one of :data:`NESTED`, or one from the package of
      the outer class, unless that package is a library.
    - An argument of the trainer must be an instance of the class that the trainer expects there.
    - Functions are never called. With ``_partial_: true`` a model may be given one of torch's
      losses, a schedule of transformers, or a function of its own package.

    Args:
        node: the node, in plain Python.
        key: dotted name of the node, for messages.
        outer: the class that ``node`` names.

    Raises:
        ConfigError: a nested target is not allowed; the message names its key.
    """
    group = key.partition(".")[0]
    own = outer.__module__.partition(".")[0]
    packages = set() if own in _LIBRARIES else {own}
    for where, nested in _nested(node, key):
        if group == "data":
            raise ConfigError(
                f"{where}._target_={nested['_target_']!r}: the data is read, never made from a "
                "class (give a path, or a mapping with the key 'path')"
            )
        found = _located(nested, where, "a class")
        if not isinstance(found, type):
            _check_function(found, nested, where, group, packages)
            continue
        argument = where.removeprefix(f"{key}.").partition("[")[0]
        kinds = _OF_TRAINER.get(argument, NESTED) if group == "trainer" else NESTED
        if issubclass(found, tuple(map(_class, kinds))):
            continue
        if kinds is not NESTED or found.__module__.partition(".")[0] not in packages:
            raise ConfigError(
                f"{where}._target_={nested['_target_']!r} is not allowed there (expected "
                + ", ".join(kind.rpartition(".")[2] for kind in kinds)
                + (f", or a class of {own!r}" if packages and kinds is NESTED else "")
                + "; make other objects in a class of your own)"
            )


def check_arguments_of(target: Callable[..., Any], names: Iterable[str], key: str) -> None:
    """Check that a class or function accepts all arguments.

    Raises:
        ConfigError: an argument is not accepted; the message suggests the nearest one.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return  # a C function, which checks its arguments when it is called
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in names:
        if name not in parameters:
            raise ConfigError(
                f"{key}.{name}: {target.__name__} has no such argument"
                f"{did_you_mean(name, parameters) or '; it has ' + ', '.join(parameters)}"
            )


def _check_function(
    found: Any, nested: Mapping[str, Any], where: str, group: str, packages: set[str]
) -> None:
    module = getattr(found, "__module__", None) or ""
    allowed = module in _FUNCTIONS or module.partition(".")[0] in packages
    if group == "model" and nested.get("_partial_") is True and callable(found) and allowed:
        return
    raise ConfigError(
        f"{where}._target_={nested['_target_']!r} is not a class: functions are not called here "
        "(name a class, or call it in a class of your own)"
    )


def _nested(value: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the nodes inside a node that have a ``_target_``, each with its dotted name."""
    children: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        children = ((f"{key}.{name}", child) for name, child in value.items())
    elif isinstance(value, list | tuple):
        children = ((f"{key}[{number}]", child) for number, child in enumerate(value))
    for where, child in children:
        if isinstance(child, Mapping) and "_target_" in child:
            yield where, child
        yield from _nested(child, where)


def _made(value: Any, key: str) -> Any:
    """Replace each node in a value by the object that it describes, innermost nodes first."""
    if isinstance(value, list):
        return [_made(child, f"{key}[{number}]") for number, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {name: _made(child, f"{key}.{name}") for name, child in value.items()}
    found = _located(value, key, "a class")
    given = {name: child for name, child in value.items() if name not in _HYDRA_KEYS}
    args = value.get("_args_", [])
    if not isinstance(args, list):
        raise ConfigError(f"{key}._args_={args!r}: expected a list")
    if value.get("_recursive_", True):
        given = {name: _made(child, f"{key}.{name}") for name, child in given.items()}
        args = [_made(child, f"{key}._args_[{number}]") for number, child in enumerate(args)]
    check_arguments_of(found, given, key)
    if isinstance(found, type) and found.__module__.startswith("lightning."):
        check_types_of(found, given, key)
    if value.get("_partial_"):
        return functools.partial(found, *args, **given)
    try:
        return found(*args, **given)
    except ConfigError as error:
        if str(error).partition("=")[0] in given:  # a class alone does not know its key
            raise ConfigError(f"{key}.{error}") from error
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"{key}: {value['_target_']} cannot be made: {reason}") from error


# Keys of a node that are not arguments.
_HYDRA_KEYS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")


def _located(node: Mapping[str, Any], key: str, expected: str) -> Any:
    """Return the object that a node's ``_target_`` names.

    Args:
        node: the node.
        key: dotted name of the node, for messages.
        expected: what the target should be, such as "a class", for messages.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or not all(map(str.isidentifier, target.split("."))):
        raise ConfigError(f"{key}._target_={target!r}: expected the dotted name of {expected}")
    if "." not in target:
        raise ConfigError(f"{key}._target_={target!r}: expected the dotted name of {expected}")
    try:
        return _import(target)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{key}._target_={target!r} cannot be imported: {error}{_where_it_lies(error)}"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{key}._target_={target!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _where_it_lies(error: ImportError | AttributeError) -> str:
    """Return what to do about a module of the current folder, which a console script passes by."""
    name = error.name or ""
    if isinstance(error, ModuleNotFoundError) and Path(f"{name}.py").is_file():
        return f" ({name}.py lies in the current folder: PYTHONPATH=. before the command finds it)"
    return ""


def _import(name: str) -> Any:
    """Import an object by its dotted name: a module, or an attribute of a module or class."""
    parts = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for n_parts, part in enumerate(parts[1:], 2):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            path = ".".join(parts[:n_parts])
            try:
                importlib.import_module(path)
            except ModuleNotFoundError as error:
                if error.name != path:
                    raise  # the missing module is one that this module imports
        found = getattr(found, part)
    return found


@functools.cache
def _class(name: str) -> type:
    found = _import(name)
    assert isinstance(found, type)
    return found
