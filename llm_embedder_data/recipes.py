"""What a task asks for: instructions and training settings, read from conf/recipe/*.yaml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from llm_embedder_data.config import CONF_DIR, ConfigError, check_choice, did_you_mean

ANY_TASK = "*"

PositiveStrategy = Literal["first", "random", "teacher", "teacher-pos"]
NegativeStrategy = Literal["random", "first", "teacher+", "teacher-"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """The texts put before a query and before a key; empty for none."""

    query: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What a recipe says of the training of one task; None where it says nothing.

    The first six concern the data (see :class:`~llm_embedder_data.RetrievalDataModule`), the others
    the loss (see :class:`~llm_embedder_data.BiEncoder`).
    """

    select_positive: PositiveStrategy | None = None
    select_negative: NegativeStrategy | None = None
    max_sample_num: int | None = None
    teacher_scores_margin: float | None = None
    teacher_scores_min: float | None = None
    stable_distill: bool | None = None
    contrastive_weight: float | None = None
    distill_weight: float | None = None
    teacher_temperature: float | None = None
    student_temperature: float | None = None
    given: frozenset[str] = frozenset()  # the keys that the recipe has, null ones too


_SETTINGS = tuple(f.name for f in fields(TaskSettings) if f.name != "given")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Instructions and settings of every task that a recipe knows.

    A task is known where it has an entry under ``instruction``; an entry ``"*"`` stands for every
    task.
    """

    name: str
    instructions: Mapping[str, Instruction]
    training: Mapping[str, TaskSettings] = field(default_factory=dict)

    def knows(self, task: str) -> bool:
        return task in self.instructions or ANY_TASK in self.instructions

    def instruction(self, task: str) -> Instruction:
        """The instruction of ``task``.

        Raises:
            ConfigError: the recipe has neither ``task`` nor ``"*"``.
        """
        found = self.instructions.get(task, self.instructions.get(ANY_TASK))
        if found is None:
            raise ConfigError(self.unknown_task(task))
        return found

    def settings(self, task: str) -> TaskSettings:
        """The training settings of ``task``; all None where the recipe has none."""
        return self.training.get(task, self.training.get(ANY_TASK, TaskSettings()))

    def unknown_task(self, task: str) -> str:
        """The sentence that tells a person that ``task`` is not here, and what to do."""
        known = ", ".join(sorted(self.instructions))
        return (
            f"task {task!r} is not in recipe {self.name!r}, which knows {known}"
            f"{did_you_mean(task, self.instructions)} "
            f'(name one of them, or choose a recipe with a "{ANY_TASK}" entry such as bge or e5)'
        )


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    return sorted(path.stem for path in (CONF_DIR / "recipe").glob("*.yaml"))


def load_recipe(recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe) -> Recipe:
    """A recipe from a name in conf/recipe, from the path of a YAML file, or from a mapping.

    The YAML has a mapping ``instruction`` (task: {query, key}) and, if wanted, ``training``
    (task: settings, see :class:`TaskSettings`).

    Raises:
        ConfigError: an unknown name, a missing file, or an unknown key, which is named.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _from_mapping(recipe, origin=str(recipe.get("name", "recipe")))
    path = _find(recipe)
    try:
        loaded: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error} (mend the YAML)") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"recipe {path}: expected a mapping with the key 'instruction'")
    return _from_mapping(loaded, origin=path.stem)


def _find(recipe: str | os.PathLike[str]) -> Path:
    text = os.fspath(recipe)
    named = CONF_DIR / "recipe" / f"{text.replace('-', '_')}.yaml"
    if "/" not in text and named.is_file():
        return named
    path = Path(text).expanduser()
    if path.is_file():
        return path
    raise ConfigError(
        f"recipe={text!r}: expected one of {', '.join(recipe_names())}, or the path of a YAML file"
        f"{did_you_mean(text, recipe_names())}"
    )


def _from_mapping(loaded: Mapping[str, Any], origin: str) -> Recipe:
    _check_keys(loaded, ("name", "instruction", "training"), f"recipe {origin!r}")
    instructions: dict[str, Instruction] = {}
    for task, entry in _mapping(
        loaded.get("instruction"), f"recipe {origin!r}, instruction"
    ).items():
        where = f"recipe {origin!r}, instruction of task {task!r}"
        entry = _mapping(entry, where)
        _check_keys(entry, ("query", "key"), where)
        for side, text in entry.items():
            if not isinstance(text, str | None):
                raise ConfigError(f"{where}: {side}={text!r} is no text (write '' for none)")
        instructions[task] = Instruction(entry.get("query") or "", entry.get("key") or "")
    if not instructions:
        raise ConfigError(
            f"recipe {origin!r}: no task under 'instruction' (give at least one, or \"{ANY_TASK}\" "
            "for all)"
        )
    training: dict[str, TaskSettings] = {}
    for task, entry in _mapping(loaded.get("training"), f"recipe {origin!r}, training").items():
        where = f"recipe {origin!r}, training of task {task!r}"
        entry = _mapping(entry, where)
        _check_keys(entry, _SETTINGS, where)
        for name, choices in (
            ("select_positive", PositiveStrategy),
            ("select_negative", NegativeStrategy),
        ):
            if entry.get(name) is not None:
                check_choice(entry[name], choices, f"{where}, {name}")
        training[task] = TaskSettings(**entry, given=frozenset(entry))
    return Recipe(str(loaded.get("name", origin)), instructions, training)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {value!r}")
    return value


def _check_keys(found: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in allowed:
            raise ConfigError(
                f"{where}: unknown key {key!r}, expected one of {', '.join(allowed)}"
                f"{did_you_mean(key, allowed)}"
            )
