"""What a task asks for, read from conf/recipe/*.yaml."""

import re

import pytest

from llm_embedder_data.config import ConfigError
from llm_embedder_data.recipes import Instruction, TaskSettings, load_recipe, recipe_names

LLM_EMBEDDER = {
    # TASK_CONFIG["llm-embedder"] of FlagEmbedding, research/llm_embedder/src/retrieval/data.py
    "qa": ("Represent this query for retrieving relevant documents: ", "first", True, None),
    "convsearch": (
        "Encode this query and context for searching relevant passages: ",
        "first",
        False,
        None,
    ),
    "chat": ("Embed this dialogue to find useful historical dialogues: ", "teacher", False, None),
    "lrlm": ("Embed this text chunk for finding useful historical chunks: ", "teacher", False, 0.1),
    "icl": ("Convert this example into vector to look for useful examples: ", "random", True, None),
    "tool": (
        "Transform this user request for fetching helpful tool descriptions: ",
        "first",
        False,
        None,
    ),
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_loads_and_says_a_space_before_the_text(name):
    recipe = load_recipe(name)

    for instruction in recipe.instructions.values():
        for text in (instruction.query, instruction.key):
            assert text == "" or text.endswith(" ")


def test_the_default_recipe_is_llm_embedders():
    recipe = load_recipe("llm_embedder")

    found = {
        task: (
            recipe.instruction(task).query,
            recipe.settings(task).select_positive,
            recipe.settings(task).stable_distill,
            recipe.settings(task).teacher_scores_margin,
        )
        for task in recipe.instructions
    }
    assert found == LLM_EMBEDDER
    assert recipe.settings("lrlm").max_sample_num == 10_000


def test_a_recipe_is_found_under_either_spelling():
    assert load_recipe("llm-embedder") == load_recipe("llm_embedder")


def test_a_star_stands_for_every_task_but_those_with_an_entry():
    recipe = load_recipe(
        {
            "instruction": {"*": {"query": "q: "}, "icl": {"key": "k: "}},
            "training": {"*": {"max_sample_num": 7}, "icl": {"stable_distill": True}},
        }
    )

    assert recipe.knows("anything")
    assert recipe.instruction("anything") == Instruction("q: ", "")
    assert recipe.instruction("icl") == Instruction("", "k: ")
    assert recipe.settings("anything").max_sample_num == 7
    assert recipe.settings("icl").max_sample_num is None


def test_a_recipe_without_training_sets_nothing():
    settings = load_recipe("bge").settings("qa")

    assert settings == TaskSettings()


def test_a_recipe_can_be_a_file_and_a_recipe_is_itself(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("instruction:\n  qa: {query: 'find: '}\n  tool:\n")

    recipe = load_recipe(path)

    assert recipe.name == "mine"
    assert recipe.instruction("qa") == Instruction("find: ", "")
    assert recipe.instruction("tool") == Instruction("", "")
    assert load_recipe(recipe) is recipe
    assert load_recipe(str(path)) == recipe


def test_an_unknown_task_is_an_error_that_lists_those_known():
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "task 'tools' is not in recipe 'llm-embedder', which knows chat, convsearch, icl, "
            "lrlm, qa, tool; did you mean 'tool'? (name one of them, or choose a recipe with a "
        ),
    ):
        load_recipe("llm_embedder").instruction("tools")


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (
            "llm_embeder",
            "recipe='llm_embeder': expected one of bge, e5, instructor, llm_",
        ),
        ("llm_embeder", "did you mean 'llm_embedder'?"),
        ({}, "recipe 'recipe': no task under 'instruction' (give at least one, or \"*\""),
        ({"instructions": {}}, "unknown key 'instructions', expected one of name, instruction"),
        ({"instruction": ["qa"]}, "recipe 'recipe', instruction: expected a mapping, found ['qa']"),
        (
            {"name": "mine", "instruction": {"qa": {"quer": ""}}},
            "recipe 'mine', instruction of task 'qa': unknown key 'quer', expected one of query",
        ),
        ({"instruction": {"qa": {"query": 3}}}, "query=3 is no text (write '' for none)"),
        (
            {"instruction": {"qa": {}}, "training": {"qa": {"select_positive": "best"}}},
            "training of task 'qa', select_positive='best': expected one of first, random, teacher",
        ),
        (
            {"instruction": {"qa": {}}, "training": {"qa": {"max_samples": 3}}},
            "unknown key 'max_samples', expected one of select_positive",
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("instruction: [", "cannot be read: "),
        ("instruction: ${nowhere}", "cannot be read: "),
        ("- qa", "expected a mapping with the key 'instruction'"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=re.escape(f"recipe {path}")) as raised:
        load_recipe(path)

    assert sentence in str(raised.value)
