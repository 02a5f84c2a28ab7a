"""What a task asks for: instructions and training settings, read from conf/recipe/*.yaml."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.core.errors import ConfigError, did_you_mean

ANY_TASK = "*"
AUTO = "auto"

PositiveStrategy = Literal["first", "random", "teacher", "teacher-pos"]
NegativeStrategy = Literal["random", "first", "teacher+", "teacher-"]

# A recipe is a page of text. What is larger, or nested deeper, is another file.
_MOST_BYTES = 1 << 20
_MOST_NODES = 100_000
_DEEPEST = 16

# The place of a task's description in the prompt of an instruct model.
_DESCRIPTION = re.compile(
    r"(?P<before>Instruct: )(?P<description>.*)(?P<after>\nQuery: ?)", re.DOTALL
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What a recipe says of the training of the whole model; None where it says nothing.

    These are arguments of :class:`~llm_embedder_data.BiEncoder`, for which the arguments of these
    names stand in where they are given.
    """

    temperature: float | None = None
    learning_rate: float | None = None
    contrastive_weight: float | None = None
    distill_weight: float | None = None
    teacher_temperature: float | None = None
    student_temperature: float | None = None

    def __or__(self, other: ModelSettings) -> ModelSettings:
        """These settings, and those of ``other`` where it has them."""
        return ModelSettings(**said(self) | said(other))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Instructions and settings of every task that a recipe knows.

    A task is known where it has an entry under ``instruction``; an entry ``"*"`` stands for every
    task.

    Attributes:
        instructions: by task. Empty until the encoder's own are known: see :attr:`is_auto`.
        training: by task.
        model: of all tasks.
        task_descriptions: what stands for ``{task}`` in the prompt of an instruct model, by task.
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
        """Whether the instructions are still to be read from the encoder's own files."""
        return not self.instructions

    def knows(self, task: str) -> bool:
        return task in self.instructions or ANY_TASK in self.instructions

    def instruction(self, task: str, description: str | None = None) -> Instruction:
        """The instruction of ``task``.

        Args:
            task: name of the task.
            description: of the task, for the prompt of an instruct model; None for the recipe's.

        Raises:
            ConfigError: the recipe has neither ``task`` nor ``"*"``, or a description is given and
                the prompt has no place for it.
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


def prompt_for(prompt: str, description: str, where: str) -> str:
    """An instruct model's query prompt with another description of the task.

    >>> prompt_for("Instruct: Find news\\nQuery: ", "Find tools", "task_description")
    'Instruct: Find tools\\nQuery: '

    Raises:
        ConfigError: the prompt has no place for a description.
    """
    if (match := _DESCRIPTION.fullmatch(prompt)) is None:
        raise ConfigError(
            f"{where}={description!r}: the query prompt in force, {prompt!r}, has no place for it, "
            "which only prompts of the form 'Instruct: ...\\nQuery: ' have (take it out, or write "
            "the whole prompt under instruction in a recipe)"
        )
    return f"{match['before']}{description}{match['after']}"


def said(settings: TaskSettings | ModelSettings) -> dict[str, Any]:
    """What settings say something about, by name."""
    names = [one.name for one in fields(settings) if one.name != "given"]
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def recipe_names() -> list[str]:
    """The recipes that ship with the package, without ``auto``, which is the encoder's own."""
    names = {path.stem for path in (CONF_DIR / "recipe").glob("*.yaml")}
    return sorted(names - {AUTO})


def load_recipe(recipe: str | os.PathLike[str] | Mapping[str, Any] | Recipe) -> Recipe:
    """A recipe from a name in conf/recipe, from the path of a YAML file, or from a mapping.

    The YAML may have a mapping ``instruction`` (task: {query, key}), without which the instructions
    are the encoder's own; ``training`` (task: settings, see :class:`TaskSettings`); ``model`` (see
    :class:`ModelSettings`); and ``task_description``, a text, or one for each task.

    Raises:
        ConfigError: an unknown name, a missing file, an unknown key, or a value of a wrong type;
            the file and the key are named.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        loaded: Any = OmegaConf.to_container(recipe) if OmegaConf.is_config(recipe) else recipe
        name = loaded.get("name")
        return _from_mapping(loaded, name if isinstance(name, str) else "mapping", "data.recipe")
    if os.fspath(recipe) == AUTO:
        return Recipe(AUTO, {})
    path = _find(recipe)
    loaded = _read_yaml(path)
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"recipe {path}: found {_shown(loaded)}, expected a mapping with keys such as "
            "'instruction' and 'training'"
        )
    return _from_mapping(loaded, path.stem, f"recipe {path}")


# --------------------------------------------------------------------------------------------------


def _find(recipe: str | os.PathLike[str]) -> Path:
    text = os.fspath(recipe)
    named = CONF_DIR / "recipe" / f"{text.replace('-', '_')}.yaml"
    if "/" not in text and "\0" not in text and named.is_file():
        return named
    path = Path(text).expanduser()
    if "\0" not in text and path.is_file():
        return path
    names = [AUTO, *recipe_names()]
    raise ConfigError(
        f"recipe={text!r}: expected one of {', '.join(names)}, or the path of a YAML file"
        f"{did_you_mean(text, names)}"
    )


def _read_yaml(path: Path) -> Any:
    """The content of a YAML file in plain Python, whoever wrote it.

    Anchors may be shared, but neither in a circle nor so that a small file becomes a large one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(
                f"recipe {path}: {path.stat().st_size:,} bytes, expected a page of YAML (is it a "
                "data file?)"
            )
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if root is None:
            raise ConfigError(f"recipe {path}: the file is empty (write a recipe, or name another)")
        _check_size(root, path)
        return OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except RecursionError as error:
        raise ConfigError(f"recipe {path}: it is nested too deep, or in a circle") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"recipe {path} cannot be read: {error} (mend the YAML)") from error


def _check_size(root: Any, path: Path) -> None:
    """Refuse circles, and what is large once every alias stands for its anchor."""
    sizes: dict[int, int] = {}
    inside: set[int] = set()

    def size_of(node: Any, depth: int) -> int:
        if depth > _DEEPEST or id(node) in inside:
            raise ConfigError(
                f"recipe {path}, line {node.start_mark.line + 1}: it is nested too deep, or an "
                "alias stands inside its own anchor (a recipe has four levels at most)"
            )
        if id(node) not in sizes:
            inside.add(id(node))
            value = node.value
            children = [] if isinstance(value, str) else value
            flat = [
                part for child in children for part in (child if type(child) is tuple else [child])
            ]
            sizes[id(node)] = 1 + sum(size_of(child, depth + 1) for child in flat)
            inside.remove(id(node))
        if sizes[id(node)] > _MOST_NODES:
            raise ConfigError(
                f"recipe {path}: its aliases stand for more than {_MOST_NODES:,} values"
            )
        return sizes[id(node)]

    size_of(root, 0)


# What a value of a recipe may be: whether it is, and the words for it.
_Rule: TypeAlias = tuple[Callable[[Any], bool], str]


def is_finite_number(value: Any) -> bool:
    """Whether a value is an int or a float that a float64 holds; true and false are neither."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int beyond the largest float
        return False


def _one_of(choices: Any) -> _Rule:
    names = get_args(choices)
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


_NUMBER: _Rule = (is_finite_number, "a finite number")
_WEIGHT: _Rule = (
    lambda value: is_finite_number(value) and value >= 0,
    "a finite number of at least 0",
)
_ABOVE_ZERO: _Rule = (
    lambda value: is_finite_number(value) and value > 0,
    "a finite number above 0",
)
_TEXT: _Rule = (lambda value: isinstance(value, str), "a text")

_TASK_RULES: dict[str, _Rule] = {
    "select_positive": _one_of(PositiveStrategy),
    "select_negative": _one_of(NegativeStrategy),
    "max_sample_num": (lambda value: type(value) is int and value >= 1, "a whole number above 0"),
    "teacher_scores_margin": _NUMBER,
    "teacher_scores_min": _NUMBER,
    "stable_distill": (lambda value: isinstance(value, bool), "true or false"),
    "contrastive_weight": _WEIGHT,
    "distill_weight": _WEIGHT,
    "teacher_temperature": _ABOVE_ZERO,
    "student_temperature": _ABOVE_ZERO,
}
_LOSS = ("contrastive_weight", "distill_weight", "teacher_temperature", "student_temperature")
_MODEL_RULES: dict[str, _Rule] = {
    "temperature": _ABOVE_ZERO,
    "learning_rate": _ABOVE_ZERO,
    **{name: _TASK_RULES[name] for name in _LOSS},
}


def _from_mapping(loaded: Mapping[Any, Any], stem: str, where: str) -> Recipe:
    _check_keys(loaded, ("name", "instruction", "training", "model", "task_description"), where)
    name = loaded.get("name", stem)
    _check(name, _TEXT, f"{where}, name")

    instructions: dict[str, Instruction] = {}
    if loaded.get("instruction") is not None:
        for task, entry in _by_task(loaded["instruction"], f"{where}, instruction").items():
            here = f"{where}, instruction.{task}"
            entry = _mapping(entry, here)
            _check_keys(entry, ("query", "key"), here)
            for side, text in entry.items():
                if text is not None:
                    _check(text, _TEXT, f"{here}.{side}", "write '' for none")
            instructions[task] = Instruction(entry.get("query") or "", entry.get("key") or "")
        if not instructions:
            raise ConfigError(
                f"{where}: no task under 'instruction' (give at least one, or \"{ANY_TASK}\" for "
                "all; without the key, the instructions are the encoder's own)"
            )

    training: dict[str, TaskSettings] = {}
    for task, entry in _by_task(loaded.get("training"), f"{where}, training").items():
        here = f"{where}, training.{task}"
        entry = _settings(entry, _TASK_RULES, here)
        training[task] = TaskSettings(**entry, given=frozenset(entry))

    descriptions = loaded.get("task_description")
    if isinstance(descriptions, str):
        descriptions = {ANY_TASK: descriptions}
    descriptions = _by_task(descriptions, f"{where}, task_description")
    for task, description in descriptions.items():
        _check(description, _TEXT, f"{where}, task_description.{task}")

    return Recipe(
        name,
        instructions,
        training,
        ModelSettings(**_settings(loaded.get("model"), _MODEL_RULES, f"{where}, model")),
        dict(descriptions),
        origin=f"recipe {name}",
    )


def _settings(entry: Any, rules: Mapping[str, _Rule], where: str) -> dict[str, Any]:
    entry = _mapping(entry, where)
    _check_keys(entry, tuple(rules), where)
    for name, value in entry.items():
        if value is not None:
            _check(value, rules[name], f"{where}.{name}")
    return dict(entry)


def _check(value: Any, rule: _Rule, where: str, advice: str = "") -> None:
    is_good, expected = rule
    if not is_good(value):
        end = f" ({advice})" if advice else ""
        raise ConfigError(f"{where}={_shown(value)}: expected {expected}{end}")


def _by_task(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping whose keys are names of tasks."""
    found = _mapping(value, where)
    for task in found:
        if not isinstance(task, str) or not task.strip():
            raise ConfigError(
                f"{where}: the task {_shown(task)} is not a name (write it in quotes: YAML reads "
                "words such as yes, null and 1 as other things)"
            )
    return found


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping, found {_shown(value)}")
    return value


def _check_keys(found: Mapping[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in allowed:
            raise ConfigError(
                f"{where}: unknown key {_shown(key)}, expected one of {', '.join(allowed)}"
                f"{did_you_mean(key, allowed)}"
            )


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # a circle; an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
