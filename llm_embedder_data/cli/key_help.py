"""``VERB --help``: every key with its value in force, and what the YAML says it means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.cli.command_line import compose
from llm_embedder_data.config.composing import CONF_DIR

_KEY = re.compile(r"""^(?P<indent> *)(?P<key>"[^"]*"|[\w*]+):(?P<rest>.*)$""")

# A comment behind a value: a quoted value may hold a # itself.
_COMMENT = re.compile(r"""^\s*(?:"[^"]*"|'[^']*'|[^"'#]*?)\s+#\s*(?P<text>.*)$""")

# Text that needs no quotes.
_PLAIN = re.compile(r"[\w./$~+-][\w./${}:~+%-]*")

_COLUMN = 40  # where comments begin

_FOOT = """\
Any key below can be set: data.batch_size=64 trainer.max_epochs=3
Choices of whole groups, such as recipe=bge:
{groups}
--cfg job shows the configuration alone, --multirun (-m) runs every combination of values with
commas between them, --version shows the version, --hydra-help the other flags.
"""


def help_page(verb: str, summary: str, overrides: Sequence[str], config_name: str) -> str:
    """The help of a verb: its configuration with the overrides in force, explained.

    Args:
        verb: its name.
        summary: what it does.
        overrides: from the command line.
        config_name: the file in conf/ that the verb is composed from.

    Raises:
        ConfigError: overrides that do not fit.
    """
    config = compose(overrides, config_name)
    files = [CONF_DIR / f"{name}.yaml" for name in dict.fromkeys(("config", config_name))]
    groups = {
        path.name: sorted(one.stem for one in path.glob("*.yaml"))
        for path in sorted(CONF_DIR.iterdir())
        if path.is_dir() and any(path.glob("*.yaml"))
    }
    meanings: dict[str, str] = {}
    for file in files:
        meanings |= _meanings(file, "")
    for group, choice in _choices(overrides).items():
        file = CONF_DIR / group / f"{choice}.yaml"
        if file.exists():  # not one of the user's own
            meanings |= _meanings(file, f"{group}.")
    lines = [f"llm-embedder-data {verb} [KEY=VALUE ...]", "", summary, ""]
    listed = "\n".join(f"  {name}: {', '.join(choices)}" for name, choices in groups.items())
    lines += [_FOOT.format(groups=listed)]
    names = sorted(config, key=lambda name: OmegaConf.is_dict(config._get_node(name)))
    lines += _shown(config, names, "", meanings)
    return "\n".join(lines).rstrip() + "\n"


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """The file that is chosen of each group."""
    defaults = OmegaConf.load(CONF_DIR / "config.yaml").defaults
    found = {
        group: str(choice) for one in defaults if one != "_self_" for group, choice in one.items()
    }
    named = (one.lstrip("+").partition("=") for one in overrides)
    return found | {key: choice for key, _, choice in named if key in found}


def _meanings(file: Path, prefix: str) -> dict[str, str]:
    """The comments of a YAML file by dotted key; its first lines are those of the group's key."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    head: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not path:
            head.append(line.lstrip("# "))
            continue
        matched = _KEY.match(line)
        if matched is None:
            continue
        indent = len(matched["indent"])
        path = [*(one for one in path if one[0] < indent), (indent, matched["key"].strip('"'))]
        key = prefix + ".".join(name for _, name in path)
        if comment := _COMMENT.match(matched["rest"]):
            found[key] = comment["text"]
    if prefix and head:
        found[prefix.rstrip(".")] = " ".join(head)
    return found


def _shown(
    node: DictConfig, names: Iterable[Any], prefix: str, meanings: Mapping[str, str]
) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    for name in names:
        key = f"{prefix}{name}"
        child: Any = node._get_node(name)
        if not prefix and OmegaConf.is_dict(child):
            yield ""
            if key in meanings:
                yield f"# {meanings[key]}"
        if OmegaConf.is_dict(child) and not OmegaConf.is_interpolation(node, name) and len(child):
            yield f"{indent}{name}:"
            yield from _shown(child, child, f"{key}.", meanings)
            continue
        text = f"{indent}{name}: {_value(node, name)}"
        yield f"{text:{_COLUMN}} # {meanings[key]}" if key in meanings else text


def _value(node: DictConfig, name: Any) -> str:
    """A value as YAML has it, on one line."""
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    value = plain[name]
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
