"""The prompts that an encoder was trained with: its instructions for queries and keys.

With the wrong prompts, an encoder silently gives worse embeddings. The prompts are read from the
model's own files; if those state none, they are taken from the published conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llm_embedder_data.config.model_files import (
    PROMPT_FILE,
    UnknownFile,
    read_model_json,
    short_name,
)
from llm_embedder_data.config.published_conventions import published_convention
from llm_embedder_data.config.recipe_rules import is_text
from llm_embedder_data.config.recipes import (
    ANY_TASK,
    AUTO,
    Instruction,
    Recipe,
    load_recipe,
    prompt_for,
)
from llm_embedder_data.core.errors import ConfigError

# Names that models give to their retrieval prompts, in order of precedence.
_QUERY_PROMPTS = (
    "query",
    "search_query",
    "retrieval.query",
    "retrieval_query",
    "Retrieval-query",
    "s2p_query",
    "web_search_query",
)
_KEY_PROMPTS = (
    "document",
    "passage",
    "corpus",
    "search_document",
    "search_passage",
    "retrieval.passage",
    "retrieval_document",
    "Retrieval-document",
)

# Suffixes of the prompt names that `BiEncoder.export` writes for a task with prompts of its own.
QUERY_SUFFIX, KEY_SUFFIX = "_query", "_document"


def with_conventions(given: Recipe, model: str | None) -> Recipe:
    """Return a recipe with the instructions that a model was trained with.

    These are the prompts in the model's ``config_sentence_transformers.json``. If it has none, they
    are those of the published convention for the model's name. If there is no convention, they are
    empty. If the convention names a recipe of conf/recipe, that recipe's training settings apply
    too, except for those that ``given`` sets.

    Args:
        given: a recipe without instructions.
        model: a folder, or a name on the Hugging Face hub; None if unknown.

    Returns:
        A recipe whose ``origin`` says where the instructions come from.

    Raises:
        ConfigError: a file of the model is invalid, or a task description was given and the query
            prompt has no place for it.
    """
    found = _recipe_of(model)
    merged = replace(
        given,
        instructions=found.instructions,
        training={**found.training, **given.training},
        model=found.model | given.model,
        origin=found.origin,
    )
    for task, description in given.task_descriptions.items():
        tasks = list(merged.instructions) if task == ANY_TASK else [task]
        for name in tasks:
            query = merged.instruction(name).query
            prompt_for(query, description, f"recipe, task_description.{task}")
    return merged


def _recipe_of(model: str | None) -> Recipe:
    """Return the recipe that follows from a model's files or its name."""
    no_prompts = {ANY_TASK: Instruction()}
    if model is None:
        return Recipe(
            AUTO, no_prompts, origin="the tokenizer does not say which model it belongs to"
        )
    try:
        config = read_model_json(model, PROMPT_FILE)
    except UnknownFile:
        config = None
        unread = f"; {PROMPT_FILE} could not be fetched: give data.recipe if the model has prompts"
    else:
        unread = ""
    published = published_convention(model)
    prompts = _checked_prompts(config, f"{model}, {PROMPT_FILE}") or {}
    instructions = _instructions(prompts)
    if instructions is not None:
        origin = f"{PROMPT_FILE} of {short_name(model)}"
        if published is not None and published.has_prompts and not any(prompts.values()):
            origin += (
                f", whose prompts are empty; the published model has others: {published.source} "
                "(give data.recipe to use them)"
            )
        return Recipe(AUTO, instructions, origin=origin)
    if published is not None:
        origin = published.origin(model)
        if published.recipe is not None:
            recipe = load_recipe(published.recipe)
            return replace(recipe, origin=f"recipe {recipe.name}, {origin}")
        return Recipe(AUTO, {ANY_TASK: Instruction(published.query, published.key)}, origin=origin)
    if prompts:
        origin = (
            f"{PROMPT_FILE} of {short_name(model)} names the prompts "
            f"{', '.join(map(repr, prompts))}, and none of them is for queries or documents (give "
            "data.recipe to use one)"
        )
    else:
        origin = f"{short_name(model)} states no prompts{unread}"
    return Recipe(AUTO, no_prompts, origin=origin)


def _checked_prompts(config: Any, where: str) -> dict[str, str] | None:
    """Return the prompts of a model's configuration by name, or None if it has no such entry."""
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"{where}: expected a JSON object (correct the file, or give data.recipe)"
        )
    prompts = config.get("prompts")
    if prompts is None:
        return None
    if not isinstance(prompts, Mapping) or not all(
        text is None or is_text(text) for text in prompts.values()
    ):
        raise ConfigError(
            f"{where}: prompts={str(prompts)[:80]!r}: expected a mapping of names to texts "
            "(correct the file, or give data.recipe)"
        )
    return {str(name): text or "" for name, text in prompts.items()}


def _instructions(prompts: Mapping[str, str]) -> dict[str, Instruction] | None:
    """Return instructions by task, or None if no prompt is for queries or documents."""
    query = next((prompts[name] for name in _QUERY_PROMPTS if name in prompts), None)
    key = next((prompts[name] for name in _KEY_PROMPTS if name in prompts), None)
    if query is None and key is None:
        return None
    tasks = [
        name.removesuffix(QUERY_SUFFIX)
        for name in prompts
        if name.endswith(QUERY_SUFFIX)
        and name not in _QUERY_PROMPTS
        and name.removesuffix(QUERY_SUFFIX) + KEY_SUFFIX in prompts
    ]
    return {
        ANY_TASK: Instruction(query or "", key or ""),
        **{
            task: Instruction(prompts[task + QUERY_SUFFIX], prompts[task + KEY_SUFFIX])
            for task in tasks
        },
    }
