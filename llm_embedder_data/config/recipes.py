"""Recipes: instructions and training settings by task, read from conf/recipe/*.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.config.negative_limits import LIMIT_RULES, Limit
from llm_embedder_data.config.recipe_rules import (
    ABOVE_ZERO,
    AT_LEAST_ZERO,
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    Rule,
    check_names,
    check_value,
    checked_by_task,
    checked_mapping,
    checked_settings,
    one_of,
)
from llm_embedder_data.config.recipe_yaml import read_yaml
from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.shown_values import shown

ANY_TASK = "*"
AUTO = "auto"

PositiveStrategy = Literal["first", "random", "teacher", "teacher-pos"]
NegativeStrategy = Literal["random", "first", "teacher+", "teacher-"]
NormalizeScores = Literal["minmax", "zscore"]

# The query prompt of an instruct model, with the place of the task description.
_DESCRIPTION = re.compile(
    r"(?P<before>Instruct: )(?P<description>.*)(?P<after>\nQuery: ?)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """The texts put before a query and before a key, without any separator; may be empty."""

    query: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """Training settings of one task; a field is None if it is not set.

    The settings up to ``normalize_scores`` are for the data (see
    :class:`~llm_embedder_data.RetrievalDataModule`), the others for the loss (see
    :class:`~llm_embedder_data.BiEncoder`).

    Attributes:
        given: names of the settings that the recipe contains, including those set to null.
    """

    select_positive: PositiveStrategy | None = None
    select_negative: NegativeStrategy | None = None
    max_sample_num: int | None = None
    teacher_scores_margin: float | None = None
    teacher_scores_min: float | None = None
    stable_distill: bool | None = None
    range_min: Limit | None = None
    range_max: Limit | None = None
    min_score: Limit | None = None
    max_score: Limit | None = None
    absolute_margin: Limit | None = None
    relative_margin: Limit | None = None
    normalize_scores: NormalizeScores | None = None
    contrastive_weight: float | None = None
    distill_weight: float | None = None
    teacher_temperature: float | None = None
    student_temperature: float | None = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Training settings for all tasks; a field is None if it is not set.

    Each is an argument of :class:`~llm_embedder_data.BiEncoder`; a value passed there overrides it.
    """

    temperature: float | None = None
    learning_rate: float | None = None
    contrastive_weight: float | None = None
    distill_weight: float | None = None
    teacher_temperature: float | None = None
    student_temperature: float | None = None

    def __or__(self, other: ModelSettings) -> ModelSettings:
        """Return these settings, overridden by those that ``other`` sets."""
        return ModelSettings(**without_none(self) | without_none(other))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Instructions and settings, by task.

    A recipe knows the tasks that have an entry under ``instruction``. The entry ``"*"`` applies to
    all other tasks.

    Attributes:
        name: name of the recipe.
        instructions: instructions by task; empty until the encoder's own instructions are read: see
            :attr:`is_auto`.
        training: training settings by task.
        model: settings for all tasks.
        task_descriptions: descriptions by task, for the prompts of instruct models.
        origin: where the instructions come from, for the report.
    """

    name: str
    instructions: Mapping[str, Instruction]
    training: Mapping[str, TaskSettings] = field(default_factory=dict)
    model: ModelSettings = ModelSettings()
    task_descriptions: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def is_auto(self) -> bool:
        """Whether the instructions must still be read from the encoder's own files."""
        return not self.instructions

    def knows(self, task: str) -> bool:
        """Return whether the recipe has an instruction for ``task``."""
        return task in self.instructions or ANY_TASK in self.instructions

    def instruction(self, task: str, description: str | None = None) -> Instruction:
        """Return the instruction of ``task``.

        Args:
            task: name of the task.
            description: description of the task for the prompt of an instruct model; None takes the
                recipe's description, if it has one.

        Raises:
            ConfigError: the recipe has neither ``task`` nor ``"*"``, or the prompt has no place for
                the description.
        """
        found = self.instructions.get(task, self.instructions.get(ANY_TASK))
        if found is None:
            raise ConfigError(self.unknown_task(task))
        if description is None:
            descriptions = self.task_descriptions
            description = descriptions.get(task, descriptions.get(ANY_TASK))
        if description is None:
            return found
        where = f"task_description of task {task!r}"
        return Instruction(prompt_for(found.query, description, where), found.key)

    def settings(self, task: str) -> TaskSettings:
        """Return the training settings of ``task``; all are None if the recipe has none."""
        return self.training.get(task, self.training.get(ANY_TASK, TaskSettings()))

    def to_mapping(self) -> dict[str, Any]:
        """Return the recipe as plain Python that :func:`load_recipe` accepts."""
        instructions = {task: asdict(texts) for task, texts in self.instructions.items()}
        return {
            "name": self.name,
            "instruction": instructions or None,
            "training": {task: without_none(settings) for task, settings in self.training.items()},
            "model": without_none(self.model),
            "task_description": dict(self.task_descriptions),
        }

    def unknown_task(self, task: str) -> str:
        """Return the error message for a task that the recipe does not know."""
        known = ", ".join(sorted(self.instructions))
        return (
            f"task {task!r} is not in recipe {self.name!r}, which knows {known}"
            f"{did_you_mean(task, self.instructions)} "
            f'(name one of them, or choose a recipe with a "{ANY_TASK}" entry such as bge or e5)'
        )


def prompt_for(prompt: str, description: str, where: str) -> str:
    """Replace the task description in an instruct model's query prompt.

    >>> prompt_for("Instruct: Find news\\nQuery: ", "Find tools", "task_description")
    'Instruct: Find tools\\nQuery: '

    Raises:
        ConfigError: the prompt has no place for a description.
    """
    if (match := _DESCRIPTION.fullmatch(prompt)) is None:
        raise ConfigError(
            f"{where}={description!r}: the query prompt in force, {prompt!r}, has no place for a "
            "description: only prompts of the form 'Instruct: ...\\nQuery: ' have one (take the "
            "description out, or write the whole prompt under instruction in a recipe)"
        )
    return f"{match['before']}{description}{match['after']}"


def without_none(settings: TaskSettings | ModelSettings) -> dict[str, Any]:
    """Return the settings that are not None, by name."""
    names = [field.name for field in fields(settings) if field.name != "given"]
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def recipe_names() -> list[str]:
    """Return the names of the recipes in conf/recipe, without ``auto``."""
    names = {path.stem for path in (CONF_DIR / "recipe").glob("*.yaml")}
    return sorted(names - {AUTO})


def load_recipe(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe, setting: str = "data.recipe"
) -> Recipe:
    """Load a recipe by its name in conf/recipe, from the path of a YAML file, or from a mapping.

    A recipe may have these sections:

    - ``instruction``: ``{query, key}`` by task. Without it, the encoder's own prompts apply.
    - ``training``: settings by task, see :class:`TaskSettings`.
    - ``model``: settings for all tasks, see :class:`ModelSettings`.
    - ``task_description``: a text, or a text by task.

    Args:
        recipe: the name, path or mapping; a recipe is returned as it is.
        setting: the key of the setting that names the recipe, for messages.

    Raises:
        ConfigError: the name is unknown, the file is missing, a setting is unknown, or a value has
            the wrong type; the message names the file and the setting.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        loaded: Any = OmegaConf.to_container(recipe) if OmegaConf.is_config(recipe) else recipe
        name = loaded.get("name")
        return _from_mapping(loaded, name if isinstance(name, str) else "mapping", setting)
    if not isinstance(recipe, str | os.PathLike):
        raise ConfigError(
            f"{setting}={shown(recipe)}: expected a name, the path of a YAML file, or a mapping"
        )
    if os.fspath(recipe) == AUTO:
        return Recipe(AUTO, {})
    path = _find(recipe, setting)
    loaded = read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"recipe {path}: found {shown(loaded)}, expected a mapping with keys such as "
            "'instruction' and 'training'"
        )
    return _from_mapping(loaded, path.stem, f"recipe {path}")


def _find(recipe: str | os.PathLike[str], setting: str) -> Path:
    text = os.fspath(recipe)
    named = CONF_DIR / "recipe" / f"{text.replace('-', '_')}.yaml"
    if "/" not in text and os.path.isfile(named):
        return named
    path = with_home(text)
    if os.path.isfile(path):
        return path
    names = [AUTO, *recipe_names()]
    raise ConfigError(
        f"{setting}={text!r}: expected one of {', '.join(names)}, or the path of a YAML file"
        f"{did_you_mean(text, names)}"
    )


_TASK_RULES: dict[str, Rule] = {
    "select_positive": one_of(PositiveStrategy),
    "select_negative": one_of(NegativeStrategy),
    "max_sample_num": COUNT,
    "teacher_scores_margin": NUMBER,
    "teacher_scores_min": NUMBER,
    "stable_distill": FLAG,
    **LIMIT_RULES,
    "normalize_scores": one_of(NormalizeScores),
    "contrastive_weight": AT_LEAST_ZERO,
    "distill_weight": AT_LEAST_ZERO,
    "teacher_temperature": ABOVE_ZERO,
    "student_temperature": ABOVE_ZERO,
}
_LOSS_SETTINGS = (
    "contrastive_weight",
    "distill_weight",
    "teacher_temperature",
    "student_temperature",
)
_MODEL_RULES: dict[str, Rule] = {
    "temperature": ABOVE_ZERO,
    "learning_rate": ABOVE_ZERO,
    **{name: _TASK_RULES[name] for name in _LOSS_SETTINGS},
}


def _from_mapping(loaded: Mapping[Any, Any], default_name: str, where: str) -> Recipe:
    check_names(loaded, ("name", "instruction", "training", "model", "task_description"), where)
    name = loaded.get("name", default_name)
    check_value(name, TEXT, f"{where}, name")
    return Recipe(
        name,
        _instructions(loaded.get("instruction"), where),
        _training(loaded.get("training"), f"{where}, training"),
        ModelSettings(**checked_settings(loaded.get("model"), _MODEL_RULES, f"{where}, model")),
        _task_descriptions(loaded.get("task_description"), f"{where}, task_description"),
        origin=f"recipe {name}",
    )


def _instructions(section: Any, where: str) -> dict[str, Instruction]:
    """Return the instructions by task; empty if the recipe has no such section."""
    if section is None:
        return {}
    instructions = {}
    for task, entry in checked_by_task(section, f"{where}, instruction").items():
        here = f"{where}, instruction.{task}"
        entry = checked_mapping(entry, here)
        check_names(entry, ("query", "key"), here)
        for side, text in entry.items():
            if text is not None:
                check_value(text, TEXT, f"{here}.{side}", "write '' for none")
        instructions[task] = Instruction(entry.get("query") or "", entry.get("key") or "")
    if not instructions:
        raise ConfigError(
            f"{where}: no task under 'instruction' (give at least one, or \"{ANY_TASK}\" for "
            "all; without the key, the instructions are the encoder's own)"
        )
    return instructions


def _training(section: Any, where: str) -> dict[str, TaskSettings]:
    training = {}
    for task, entry in checked_by_task(section, where).items():
        settings = checked_settings(entry, _TASK_RULES, f"{where}.{task}")
        training[task] = TaskSettings(**settings, given=frozenset(settings))
    return training


def _task_descriptions(section: Any, where: str) -> dict[str, str]:
    by_task = checked_by_task({ANY_TASK: section} if isinstance(section, str) else section, where)
    for task, description in by_task.items():
        check_value(description, TEXT, f"{where}.{task}")
    return dict(by_task)
