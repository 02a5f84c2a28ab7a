"""Which instructions an encoder gets: from its own files, or as published under its name."""

import pytest
from convention_cases import AUTO, QWEN, model_folder
from transformers import BertConfig

from llm_embedder_data import ConfigError
from llm_embedder_data.config.model_pooling import pooled
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import Instruction, load_recipe


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ({"query": "q: ", "document": "d: "}, ("q: ", "d: ")),
        ({"search_query": "q: ", "search_document": "d: "}, ("q: ", "d: ")),
        ({"retrieval.query": "q: ", "retrieval.passage": "d: "}, ("q: ", "d: ")),
        ({"query": "q: ", "passage": "p: "}, ("q: ", "p: ")),
        ({"query": "q: "}, ("q: ", "")),
        ({"query": "", "document": ""}, ("", "")),
        ({"query": None, "document": None}, ("", "")),
        ({"classification": "c: "}, ("", "")),
    ],
)
def test_instructions_are_the_prompts_of_the_models_own_file(tmp_path, prompts, expected):
    folder = model_folder(tmp_path / "mine", prompts=prompts)

    recipe = with_conventions(AUTO, folder)

    assert recipe.instruction("anything") == Instruction(*expected)
    assert "config_sentence_transformers.json" in recipe.origin
    if "classification" in prompts:
        assert "'classification'" in recipe.origin  # a prompt that is not used is named


def test_the_models_own_file_wins_over_what_is_published_under_its_name(tmp_path):
    own = model_folder(tmp_path / "own" / "e5-base-v2", prompts={"query": "own: "})

    assert with_conventions(AUTO, own).instruction("qa") == Instruction("own: ", "")


# sentence-transformers 2.4 to 4 write {} unasked.
@pytest.mark.parametrize("prompts", [None, {}, {"classification": "c: "}])
def test_a_file_without_prompts_leaves_what_is_published_under_the_models_name(tmp_path, prompts):
    silent = model_folder(tmp_path / "e5-base-v2", prompts=prompts, similarity_fn_name="cosine")

    assert with_conventions(AUTO, silent).instruction("qa") == Instruction("query: ", "passage: ")
    unknown = model_folder(tmp_path / "mine", prompts=prompts, similarity_fn_name="cosine")
    assert with_conventions(AUTO, unknown).instruction("qa") == Instruction("", "")


def test_empty_prompts_hold_and_what_is_published_under_the_models_name_is_said(tmp_path):
    empty = {"query": "", "document": ""}

    recipe = with_conventions(AUTO, model_folder(tmp_path / "e5-base-v2", prompts=empty))

    assert recipe.instruction("qa") == Instruction("", "")
    assert "prompts are empty; the published model has others: E5" in recipe.origin
    for name in ("mine", "all-MiniLM-L6-v2"):
        recipe = with_conventions(AUTO, model_folder(tmp_path / name, prompts=empty))
        assert "published" not in recipe.origin


@pytest.mark.parametrize(
    ("name", "query", "key", "pooling"),
    [
        ("intfloat/e5-large-v2", "query: ", "passage: ", "mean"),
        ("intfloat/multilingual-e5-base", "query: ", "passage: ", "mean"),
        (
            "BAAI/bge-small-en-v1.5",
            "Represent this sentence for searching relevant passages: ",
            "",
            "cls",
        ),
        ("BAAI/bge-m3", "", "", "cls"),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: ", "mean"),
        ("sentence-transformers/all-MiniLM-L6-v2", "", "", "mean"),
    ],
)
def test_a_model_without_files_has_what_is_published(name, query, key, pooling, tmp_path):
    folder = str(tmp_path / name)
    (tmp_path / name).mkdir(parents=True)

    found = pooled(folder, BertConfig())

    assert with_conventions(AUTO, folder).instruction("qa") == Instruction(query, key)
    assert (found.pooling, found.similarity) == (pooling, "cos")
    assert found.origin.endswith(f"(by the name {name.rpartition('/')[2]})")


def test_llm_embedder_brings_its_whole_recipe(tmp_path):
    (tmp_path / "llm-embedder").mkdir()
    published = load_recipe("llm_embedder")

    recipe = with_conventions(AUTO, str(tmp_path / "llm-embedder"))
    changed = with_conventions(
        load_recipe({"training": {"qa": {"stable_distill": False}}, "model": {"temperature": 1}}),
        str(tmp_path / "llm-embedder"),
    )

    assert recipe.instructions == published.instructions
    assert recipe.training == published.training
    assert recipe.model.temperature == 0.01
    assert changed.settings("qa").stable_distill is False
    assert changed.settings("chat") == published.settings("chat")
    assert (changed.model.temperature, changed.model.learning_rate) == (1, 5e-6)


def test_a_model_that_nobody_knows_has_no_instruction_and_says_so(tmp_path):
    (tmp_path / "outputs").mkdir()

    recipe = with_conventions(AUTO, str(tmp_path / "outputs"))

    assert recipe.instruction("qa") == Instruction()
    assert "states no prompts" in recipe.origin
    assert with_conventions(AUTO, None).instruction("qa") == Instruction()


def test_the_description_of_a_task_stands_in_an_instruct_models_prompt(tmp_path):
    folder = model_folder(tmp_path / "mine", prompts={"query": QWEN, "document": ""})
    given = load_recipe({"task_description": {"tool": "Find a tool"}})

    recipe = with_conventions(given, folder)

    assert recipe.instruction("qa").query == QWEN
    assert recipe.instruction("tool").query == "Instruct: Find a tool\nQuery:"
    assert recipe.instruction("qa", "Find news").query == "Instruct: Find news\nQuery:"
    plain = model_folder(tmp_path / "plain", prompts={"query": "query: "})
    with pytest.raises(ConfigError, match=r"task_description.*has no place for a description"):
        with_conventions(given, plain)


@pytest.mark.parametrize(
    "prompts", [["query"], {"query": 3}, "query: ", {"query": ["q"]}, {"query": "\ud83d: "}]
)
def test_prompts_of_a_wrong_type_are_refused(tmp_path, prompts):
    folder = model_folder(tmp_path / "mine", prompts=prompts)

    with pytest.raises(ConfigError, match="expected a mapping of names to texts"):
        with_conventions(AUTO, folder)
