"""What stands behind a verb on the command line: flags of Hydra, and settings that fit conf/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.config.composing import CONF_DIR, load_config
from llm_embedder_data.core.errors import ConfigError, did_you_mean

# Hydra's flags by the number of values that follow them; --info may have one.
_FLAGS = {"--help": 0, "-h": 0, "--hydra-help": 0, "--version": 0, "--resolve": 0}
_FLAGS |= {"--run": 0, "-r": 0, "--multirun": 0, "-m": 0, "--shell-completion": 0, "-sc": 0}
_FLAGS |= {"--cfg": 1, "-c": 1, "--package": 1, "-p": 1, "--config-path": 1, "-cp": 1}
_FLAGS |= {"--config-name": 1, "-cn": 1, "--config-dir": 1, "-cd": 1, "--experimental-rerun": 1}
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

# Below these keys a user may add what they like; elsewhere a new key is a misspelt one.
_OPEN = (
    "data.train_data",
    "data.eval_data",
    "data.corpus",
    "recipe",
    "callbacks",
    "logger",
    "hydra",
)

# What may be taken out whole.
_LISTS = ("callbacks", "logger")

# Keys of objects, which may be of a class of the user's; its arguments are not known here.
_OBJECTS = ("data", "model", "trainer")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The arguments behind a verb.

    Attributes:
        flags: of Hydra, each with its values.
        overrides: settings, as Hydra's grammar has them.
    """

    flags: tuple[str, ...]
    overrides: tuple[str, ...]

    def has(self, *flags: str) -> bool:
        """Whether one of the flags is given."""
        return bool({flag.partition("=")[0] for flag in self.flags} & set(flags))

    @property
    def is_multirun(self) -> bool:
        """Whether it asks for several jobs."""
        by_key = any(one.lower().startswith("hydra.mode=multirun") for one in self.overrides)
        return by_key or self.has("-m", "--multirun")

    @property
    def search_path(self) -> list[str]:
        """The folder of more configurations that a flag names, as an override."""
        for place, flag in enumerate(self.flags):
            name, _, value = flag.partition("=")
            if name in ("--config-dir", "-cd"):
                folder = Path(value or self.flags[place + 1]).resolve()
                return [f"hydra.searchpath=[{_quoted(folder.as_uri())}]"]
        return []


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Tell flags from settings, and quote values that Hydra's grammar has no room for.

    A value such as ``epoch=0-step=10.ckpt`` or ``rows (1).jsonl`` can be nothing but text.

    Raises:
        ConfigError: an argument that is neither a flag nor KEY=VALUE.
    """
    flags: list[str] = []
    settings: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument.startswith("-"):
            flags.append(argument)
            name, is_assigned, _ = argument.partition("=")
            if name in ("--info", "-i"):
                flags += [rest.pop(0)] if rest and rest[0] in _INFO else []
                continue
            if name not in _FLAGS or (is_assigned and not _FLAGS[name]):
                raise ConfigError(
                    f"there is no flag {argument!r}"
                    + (did_you_mean(name, _FLAGS) or " (--help shows what there is)")
                )
            if _FLAGS[name] and not is_assigned:
                if not rest:
                    raise ConfigError(f"nothing follows the flag {argument!r}: expected a value")
                flags.append(rest.pop(0))
        else:
            settings.append(argument)
    multirun = any(flag in ("-m", "--multirun") for flag in flags)
    return CommandLine(tuple(flags), tuple(_setting(one, multirun) for one in settings))


def _setting(argument: str, multirun: bool) -> str:
    """A setting as Hydra's grammar has it."""
    key, has_value, value = argument.partition("=")
    name = key.lstrip("+~")
    if not argument.strip():
        raise ConfigError(
            f"{argument!r} is no setting: an empty argument (a variable of the shell that is not "
            "set?); expected KEY=VALUE"
        )
    if not name.strip():
        raise ConfigError(f"{argument!r} is no setting: it names no key; expected KEY=VALUE")
    if not has_value and not key.startswith("~"):
        raise ConfigError(
            f"{argument!r} is no setting: expected KEY=VALUE, such as data.batch_size=64"
        )
    if has_value and not value.strip() and not key.startswith("~"):
        raise ConfigError(
            f"{argument!r}: there is no value (a variable of the shell that is not set? null "
            f"stands for none, {name}=\"''\" for an empty text)"
        )
    parser = OverridesParser.create()
    fault = _fault(parser, argument)
    if fault is None:
        return argument
    if value[:1] not in "{[('\"":
        parts = value.split(",") if multirun else [value]
        quoted = ",".join(
            part if _fault(parser, f"{key}={part}") is None else _quoted(part) for part in parts
        )
        if _fault(parser, f"{key}={quoted}") is None:
            return f"{key}={quoted}"
    raise ConfigError(
        f"{argument!r} cannot be read: {fault} (in a list or mapping, text with signs such as = "
        f"and ( is quoted: {name}=\"{{a: 'x=1.jsonl'}}\")"
    )


def _fault(parser: OverridesParser, argument: str) -> str | None:
    try:
        parser.parse_override(argument)
    except HydraException as error:
        return str(error).splitlines()[0]
    return None


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def fit_to_config(line: CommandLine, config_name: str) -> CommandLine:
    """Refuse keys that are not there before Hydra does, which would advise to add them with a plus.

    Arguments of a class of the user's, of a callback or of a logger, which conf/ cannot know, are
    added with the plus that Hydra asks for, in whatever order they come; they are compared with the
    class before it is made.

    Args:
        line: the command line.
        config_name: the file in conf/ that the verb is composed from.

    Raises:
        ConfigError: the key, and the nearest one; or what Hydra says of a choice of a group.
    """
    parsed = OverridesParser.create().parse_overrides(list(line.overrides))
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    chosen = [
        one
        for one in parsed
        if not one.is_sweep_override()
        and (
            _group(one) in groups
            or one.key_or_group.endswith("._target_")
            or one.key_or_group == "hydra.searchpath"
        )
    ]
    swept = {_group(one) for one in parsed if one.is_sweep_override() and _group(one) in groups}
    usual = load_config(config_name=config_name)
    for one in parsed:
        if one.is_delete() and _group(one) in usual and _group(one) not in _LISTS:
            raise ConfigError(
                f"{str(one.input_line)!r}: the verb needs {_group(one)} (give it another value "
                "instead)"
            )
        _refuse_no_choice(one, groups)
    config = compose([*line.search_path, *(str(one.input_line) for one in chosen)], config_name)
    others = {
        name
        for name in _OBJECTS
        if _target(config, name) != _target(usual, name)
        or name in swept
        or any(one.key_or_group == f"{name}._target_" for one in parsed)
    }
    fitting = []
    for one in parsed:
        key, text = one.key_or_group, str(one.input_line)
        if _is_group(one, groups) or any(
            key == path or key.startswith(f"{path}.") for path in _OPEN
        ):
            of_object = key.count(".") > 1 and key.startswith(("callbacks.", "logger."))
            fitting.append(_added(one, config) if of_object else text)
        elif key.partition(".")[0] in others:
            fitting.append(_added(one, config))
        else:
            _check_key(key, config)
            fitting.append(text)
    return CommandLine(line.flags, tuple(fitting))


def compose(overrides: Sequence[str], config_name: str) -> DictConfig:
    """:func:`load_config`, whose complaints are one sentence.

    Raises:
        ConfigError: what Hydra or OmegaConf says.
    """
    try:
        return load_config(overrides, config_name=config_name)
    except HydraException as error:
        raise ConfigError(sentence(error)) from error


def sentence(error: BaseException) -> str:
    """What an error and its cause say, on one line."""
    said = [str(one) for one in (error, error.__cause__) if one is not None]
    return " ".join(" ".join(dict.fromkeys(said)).split())


def _group(override: Override) -> str:
    """The group that an override chooses from, or its key."""
    return override.key_or_group.partition("@")[0]


def _is_group(override: Override, groups: Sequence[str]) -> bool:
    """Whether an override chooses from a group of conf/, or from one of Hydra's own."""
    return _group(override) in groups or _group(override).startswith("hydra/")


def _refuse_no_choice(override: Override, groups: Sequence[str]) -> None:
    """Refuse a group's choice that is no name, which Hydra meets with an error of its own."""
    if not _is_group(override, groups) or override.is_delete() or override.is_sweep_override():
        return
    value = override.value()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        group = _group(override)
        raise ConfigError(
            f"{str(override.input_line)!r}: {group} is a group, from which a name is chosen "
            f"(~{group} leaves it out where it can be left out; {group}.KEY=VALUE sets one of its "
            "keys)"
        )


def _target(config: DictConfig, name: str) -> Any:
    return OmegaConf.select(config, f"{name}._target_")


def _added(override: Override, config: DictConfig) -> str:
    """An override of a key that may not be there."""
    text, key = str(override.input_line), override.key_or_group
    is_plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    if not is_plain or _is_there(config, key):
        return text
    return f"++{text}"


def _is_there(node: Any, key: str) -> bool:
    for part in key.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            return False
        node = node._get_node(part)
    return True


def _check_key(key: str, config: DictConfig) -> None:
    node: Any = config
    path: list[str] = []
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            return  # below a value: Hydra's own error is clear
        if part not in node:
            names = [".".join([*path, str(name)]) for name in node]
            near = did_you_mean(".".join([*path, part]), names) or f"; there are {', '.join(names)}"
            raise ConfigError(f"there is no key {key!r}{near}")
        path.append(part)
        node = node._get_node(part)
        if OmegaConf.is_interpolation(node):
            return
