"""Reading the arguments that follow a verb: Hydra's flags, and settings in Hydra's grammar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from llm_embedder_data.core.errors import ConfigError, did_you_mean

# Hydra's flags, each with the number of values that follow it.
_FLAGS = {"--help": 0, "-h": 0, "--hydra-help": 0, "--version": 0, "--resolve": 0}
_FLAGS |= {"--run": 0, "-r": 0, "--multirun": 0, "-m": 0, "--shell-completion": 0, "-sc": 0}
_FLAGS |= {"--cfg": 1, "-c": 1, "--package": 1, "-p": 1, "--config-path": 1, "-cp": 1}
_FLAGS |= {"--config-name": 1, "-cn": 1, "--config-dir": 1, "-cd": 1, "--experimental-rerun": 1}

# Flags with which the configuration is printed.
_PRINTS = ("--cfg", "-c", "--help", "-h")

# Flags that say how the configuration is printed.
_OF_PRINTING = ("--resolve", "--package", "-p")

# --info and -i may be followed by one of these values.
_INFO_VALUES = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The arguments that follow a verb.

    Attributes:
        flags: Hydra's flags, each followed by its values.
        overrides: settings in Hydra's grammar.
    """

    flags: tuple[str, ...]
    overrides: tuple[str, ...]

    def has(self, *flags: str) -> bool:
        """Return whether any of the flags is given."""
        return bool({flag.partition("=")[0] for flag in self.flags} & set(flags))

    @property
    def is_multirun(self) -> bool:
        """Whether the command asks for several jobs."""
        by_setting = any(
            override.lower().startswith("hydra.mode=multirun") for override in self.overrides
        )
        return by_setting or self.has("-m", "--multirun")

    @property
    def search_path(self) -> list[str]:
        """The override that adds the folder of ``--config-dir`` to Hydra's search path.

        Empty without this flag.
        """
        for index, flag in enumerate(self.flags):
            name, _, value = flag.partition("=")
            if name in ("--config-dir", "-cd"):
                folder = Path(value or self.flags[index + 1]).resolve()
                return [f"hydra.searchpath=[{_quoted(folder.as_uri())}]"]
        return []


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Separate flags from settings, and quote values that Hydra's grammar cannot read.

    Values such as ``epoch=0-step=10.ckpt`` and ``rows (1).jsonl`` are not valid in Hydra's grammar,
    so they must be meant as text.

    Raises:
        ConfigError: an argument is neither a flag nor KEY=VALUE.
    """
    flags: list[str] = []
    settings: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument.startswith("-"):
            flags += [argument, *_flag_values(argument, remaining)]
        else:
            settings.append(argument)
    given = [flag.partition("=")[0] for flag in flags]
    for flag in _OF_PRINTING:
        if flag in given and not {*given} & {*_PRINTS}:
            raise ConfigError(f"the flag {flag!r} is for a printed configuration (add --cfg job)")
    is_multirun = any(flag in ("-m", "--multirun") for flag in flags)
    return CommandLine(tuple(flags), tuple(_override(setting, is_multirun) for setting in settings))


def _flag_values(flag: str, remaining: list[str]) -> list[str]:
    """Remove a flag's values from the remaining arguments, and return them."""
    name, is_assigned, _ = flag.partition("=")
    if name in ("--info", "-i"):
        return [remaining.pop(0)] if remaining and remaining[0] in _INFO_VALUES else []
    if name not in _FLAGS or (is_assigned and not _FLAGS[name]):
        raise ConfigError(
            f"there is no flag {flag!r}"
            + (did_you_mean(name, _FLAGS) or " (--help shows what there is)")
        )
    if is_assigned or not _FLAGS[name]:
        return []
    if not remaining:
        raise ConfigError(f"nothing follows the flag {flag!r}: expected a value")
    return [remaining.pop(0)]


def _override(argument: str, is_multirun: bool) -> str:
    """Return a setting in Hydra's grammar, its value quoted where needed."""
    key, _, value = argument.partition("=")
    _check_form(argument)
    parser = OverridesParser.create()
    problem = _problem(parser, argument)
    if problem is None:
        return argument
    if value[:1] not in "{[('\"":
        parts = value.split(",") if is_multirun else [value]
        quoted = ",".join(
            part if _problem(parser, f"{key}={part}") is None else _quoted(part) for part in parts
        )
        if _problem(parser, f"{key}={quoted}") is None:
            return f"{key}={quoted}"
    raise ConfigError(
        f"{argument!r} cannot be read: {problem} (in a list or mapping, text with signs such as = "
        f"and ( must be quoted: {key.lstrip('+~')}=\"{{a: 'x=1.jsonl'}}\")"
    )


def _check_form(argument: str) -> None:
    """Refuse an argument that is not KEY=VALUE; ``~KEY`` needs no value."""
    key, has_value, value = argument.partition("=")
    name, is_deletion = key.lstrip("+~"), key.startswith("~")
    if not argument.strip():
        raise ConfigError(
            f"{argument!r} is not a setting: an empty argument (is a variable of the shell not "
            "set?); expected KEY=VALUE"
        )
    if not name.strip():
        raise ConfigError(f"{argument!r} is not a setting: it names no key; expected KEY=VALUE")
    if is_deletion:
        return
    if not has_value:
        raise ConfigError(
            f"{argument!r} is not a setting: expected KEY=VALUE, such as data.batch_size=64"
        )
    if not value.strip():
        raise ConfigError(
            f"{argument!r}: there is no value (is a variable of the shell not set? null stands for "
            f"none, {name}=\"''\" for an empty text)"
        )


def _problem(parser: OverridesParser, argument: str) -> str | None:
    """Return the error of Hydra's parser, or None."""
    try:
        parser.parse_override(argument)
    except HydraException as error:
        return str(error).splitlines()[0]
    return None


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()
