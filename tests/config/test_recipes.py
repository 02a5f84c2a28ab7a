"""What a task asks for, read from conf/recipe/*.yaml."""

import re
from dataclasses import fields
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.config import ConfigError
from llm_embedder_data.config.recipes import (
    Instruction,
    ModelSettings,
    Recipe,
    TaskSettings,
    load_recipe,
    recipe_names,
)

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
            "recipe='llm_embeder': expected one of auto, bge, e5, instructor, llm_",
        ),
        ("llm_embeder", "did you mean 'llm_embedder'?"),
        (
            {"instruction": {}},
            "data.recipe: no task under 'instruction' (give at least one, or \"*\"",
        ),
        ({"instructions": {}}, "unknown key 'instructions', expected one of name, instruction"),
        ({"instruction": ["qa"]}, "data.recipe, instruction: expected a mapping, found ['qa']"),
        (
            {"name": "mine", "instruction": {"qa": {"quer": ""}}},
            "data.recipe, instruction.qa: unknown key 'quer', expected one of query",
        ),
        (
            {"instruction": {"qa": {"query": 3}}},
            "data.recipe, instruction.qa.query=3: expected a text without lone surrogates (write",
        ),
        (
            {"instruction": {"qa": {"query": "\ud83d: "}}},
            "instruction.qa.query='\\ud83d: ': expected a text without lone surrogates (write ''",
        ),
        (["bge"], "data.recipe=['bge']: expected a name, the path of a YAML file, or a mapping"),
        (True, "data.recipe=True: expected a name"),
        (
            {"instruction": {"qa": {}}, "training": {"qa": {"select_positive": "best"}}},
            "training.qa.select_positive='best': expected one of first, random, teacher",
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
        ("- qa", "expected a mapping with keys such as 'instruction'"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=re.escape(f"recipe {path}")) as raised:
        load_recipe(path)

    assert sentence in str(raised.value)


# -- a file from a stranger ------------------------------------------------------------------------

WRONG = {
    "select_positive": ["best", 1, True, ["first"], {}],
    "select_negative": ["teacher", 0.5, []],
    "max_sample_num": [0, -1, 1.5, "abc", True, [], 10.0],
    "teacher_scores_margin": ["0.1", True, [], float("nan"), float("inf")],
    "teacher_scores_min": ["low", {}, float("-inf")],
    "stable_distill": [1, 0, "true", []],
    "contrastive_weight": [-0.1, "1", True, float("nan")],
    "distill_weight": [-1, None.__class__, float("inf")],
    "teacher_temperature": [0, -1, "1", float("nan")],
    "student_temperature": [0.0, False],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_setting_of_a_wrong_type_or_range_is_refused_with_its_key(name, value):
    with pytest.raises(ConfigError, match=re.escape(f"data.recipe, training.qa.{name}=")):
        load_recipe({"instruction": {"qa": {}}, "training": {"qa": {name: value}}})


@pytest.mark.parametrize("name", [f.name for f in fields(ModelSettings)])
@pytest.mark.parametrize("value", [-1, "0.1", True, float("nan"), [], 10**400], ids=range(6))
def test_a_model_setting_of_a_wrong_type_or_range_is_refused_with_its_key(name, value):
    with pytest.raises(ConfigError, match=re.escape(f"data.recipe, model.{name}=")):
        load_recipe({"model": {name: value}})


@pytest.mark.parametrize("task", [1, None, True, 2.5, "", " ", ("a", "b")])
@pytest.mark.parametrize("section", ["instruction", "training", "task_description"])
def test_a_task_that_is_no_name_is_refused(section, task):
    with pytest.raises(ConfigError, match=rf"data\.recipe, {section}: the task .* is not a name"):
        load_recipe({"instruction": {"qa": {}}, section: {task: {}}})


@pytest.mark.parametrize(
    "content",
    [
        b"instruction: &a {qa: *a}",
        b"instruction: &a [*a]",
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n".encode()
            for old, new in pairwise("abcdefghij")
        ),
        b"instruction: " + b"{a: " * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"training: {qa: {max_sample_num: !!python/object/apply:os.system [ls]}}",
        b"training: {qa: {max_sample_num: 2020-01-01}}",
        b"instruction: {yes: {query: a}}",
        b"instruction: {qa: {query: a}, qa: {query: b}}",
        b"instruction: ${instruction}",
        b"x" * (2 << 20),
        b"\x00",
        b"",
        b"--- 1\n--- 2",
        b'{"query": "q", "pos": ["p"]}\n{"query": "q", "pos": ["p"]}\n',
    ],
    ids=range(16),
)
def test_a_file_that_is_anything_ends_in_one_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(f"recipe {path}")) as raised:
        load_recipe(path)

    assert len(str(raised.value)) < 1500


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "instruction", "training", "model", "qa", "*", "query", "key"])
            | st.sampled_from(sorted(WRONG))
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def sentence_of(recipe):
    """The error of a recipe that is refused; of another, what it was made of."""
    try:
        made = load_recipe(recipe)
    except ConfigError as error:
        return str(error)
    assert isinstance(made, Recipe)
    return f"data.recipe {recipe}"


@given(ANYTHING)
def test_any_mapping_is_a_recipe_or_one_clear_error(value):
    recipe = value if isinstance(value, dict) else {"instruction": value}

    assert sentence_of(recipe).startswith("data.recipe")


@given(value=ANYTHING)
def test_any_yaml_is_a_recipe_or_one_clear_error(value, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")

    assert str(path) in sentence_of(path)


def test_a_mapping_inside_itself_is_refused():
    circle: dict = {"instruction": {"qa": {}}}
    circle["training"] = {"qa": circle}
    circle["model"] = circle

    with pytest.raises(ConfigError, match="unknown key 'instruction'"):
        load_recipe(circle)


def test_without_instructions_a_recipe_leaves_them_to_the_encoder():
    for recipe in ("auto", {}, {"name": "auto"}, {"training": {"qa": {"max_sample_num": 3}}}):
        assert load_recipe(recipe).is_auto
    assert not load_recipe("bge").is_auto
    assert "auto" not in recipe_names()  # it has no instructions of its own
