"""TASK_CONFIG: the recipes in LLM-Embedder's form, and the conversion back to a recipe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from llm_embedder_data.config.recipes import ANY_TASK, Recipe, load_recipe, recipe_names
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line


def _task_config() -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        entry: dict[str, Any] = {}
        instructions = {task: asdict(texts) for task, texts in recipe.instructions.items()}
        if ANY_TASK in instructions:
            anything = instructions.pop(ANY_TASK)
            entry["instruction"] = defaultdict(anything.copy, instructions)
        else:
            entry["instruction"] = instructions
        if recipe.training:
            entry["training"] = {
                task: {
                    name: value
                    for name, value in asdict(settings).items()
                    if name in settings.given
                }
                for task, settings in recipe.training.items()
            }
        config[recipe.name] = entry
    return config


# {recipe name: {"instruction": {task: {"query": str, "key": str}}, "training": {task: settings}}}
TASK_CONFIG = _task_config()


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """Return the recipe of an entry of TASK_CONFIG, or of a mapping in the same form.

    Raises:
        ConfigError: it is not such a mapping, or not a valid recipe.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("instruction"), Mapping):
        known = isinstance(config, str) and config in TASK_CONFIG
        example = config if known else "llm-embedder"
        raise ConfigError(
            f"config={one_line(repr(config))}: expected a mapping with the key 'instruction', such "
            f"as TASK_CONFIG[{example!r}]"
        )
    instruction = config["instruction"]
    entries = dict(instruction)
    if isinstance(instruction, defaultdict) and instruction.default_factory is not None:
        entries[ANY_TASK] = instruction.default_factory()
    return load_recipe({"instruction": entries, "training": config.get("training")})
