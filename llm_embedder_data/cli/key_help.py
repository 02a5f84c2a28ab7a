"""``VERB --help``: every key with its current value and its comment in conf/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from llm_embedder_data.cli.key_checks import compose
from llm_embedder_data.cli.verbs import Verb
from llm_embedder_data.config.composing import CONF_DIR

_KEY = re.compile(r"""^(?P<indent> *)(?P<key>"[^"]*"|[\w*]+):(?P<rest>.*)$""")

# A comment after a value. A quoted value may contain #.
_COMMENT = re.compile(r"""^\s*(?:"[^"]*"|'[^']*'|[^"'#]*?)\s+#\s*(?P<text>.*)$""")

# Text that needs no quotes in YAML, interpolations included.
_PLAIN = re.compile(r"[\w./$~+-][\w./${}:~+%-]*")

_COMMENT_COLUMN = 40

_HEAD = """\
llm-embedder-data {verb} [KEY=VALUE ...]

{summary}

Any key below can be set: data.batch_size=64 trainer.max_epochs=3
Choices of whole groups, such as recipe=bge:
{groups}
--cfg job shows the configuration alone, --multirun (-m) runs every combination of values with
commas between them, --version shows the version, --hydra-help the other flags.
"""


def help_page(verb: Verb, overrides: Sequence[str]) -> str:
    """Return the help of a verb: its configuration with the given overrides, and the comments.

    Raises:
        ConfigError: Hydra refuses the overrides.
    """
    config = OmegaConf.to_container(compose(overrides, verb.config_name), resolve=False)
    assert isinstance(config, dict)
    groups = "\n".join(f"  {name}: {', '.join(choices)}" for name, choices in _groups().items())
    head = _HEAD.format(verb=verb.name, summary=verb.summary, groups=groups)
    names = sorted(config, key=lambda name: isinstance(config[name], dict))  # single values first
    lines = _lines(config, names, "", _comments_in_force(overrides, verb.config_name))
    return "\n".join([head, *lines]).rstrip() + "\n"


def _groups() -> dict[str, list[str]]:
    """Return the groups of conf/, each with the names to choose from."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(CONF_DIR.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def _comments_in_force(overrides: Sequence[str], config_name: str) -> dict[str, str]:
    """Return the comments of all files that a configuration is composed from, by dotted key."""
    comments: dict[str, str] = {}
    for name in dict.fromkeys(("config", config_name)):
        comments |= _comments(CONF_DIR / f"{name}.yaml", "")
    for group, choice in _choices(overrides).items():
        file = CONF_DIR / group / f"{choice}.yaml"
        if file.exists():  # a user's file is in another folder
            comments |= _comments(file, f"{group}.")
    return comments


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """Return the file that is chosen from each group."""
    choices: dict[str, str] = {}
    for entry in OmegaConf.load(CONF_DIR / "config.yaml").defaults:
        if entry != "_self_":
            choices |= {group: str(choice) for group, choice in entry.items()}
    for override in overrides:
        key, _, choice = override.lstrip("+").partition("=")
        if key in choices:
            choices[key] = choice
    return choices


def _comments(file: Path, prefix: str) -> dict[str, str]:
    """Return the comments of a YAML file by dotted key.

    The comment at the top of a group's file belongs to the key of the group.
    """
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []  # (indent, key) of the keys around the current line
    top: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not path:
            top.append(line.lstrip("# "))
            continue
        matched = _KEY.match(line)
        if matched is None:
            continue
        indent = len(matched["indent"])
        path = [
            *(outer for outer in path if outer[0] < indent),
            (indent, matched["key"].strip('"')),
        ]
        if comment := _COMMENT.match(matched["rest"]):
            found[prefix + ".".join(name for _, name in path)] = comment["text"]
    if prefix and top:
        found[prefix.rstrip(".")] = " ".join(top)
    return found


def _lines(
    node: Mapping[Any, Any], names: Iterable[Any], prefix: str, comments: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of a node's keys, and of the nodes inside the node."""
    indent = "  " * prefix.count(".")
    for name in names:
        key, value = f"{prefix}{name}", node[name]
        if not prefix and isinstance(value, dict):
            yield ""
            if key in comments:
                yield f"# {comments[key]}"
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, value, f"{key}.", comments)
            continue
        text = f"{indent}{name}: {_shown(value)}"
        yield f"{text:{_COMMENT_COLUMN}} # {comments[key]}" if key in comments else text


def _shown(value: Any) -> str:
    """Return a value as YAML on a single line."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
