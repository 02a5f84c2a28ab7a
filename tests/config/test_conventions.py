"""How an encoder wants its texts prepared and pooled, read from its own files."""

import json
import re
import shutil

import pytest
import torch
from training.training_cases import tiny_bert
from transformers import AutoTokenizer, BertConfig, LlamaConfig, LlamaModel

import llm_embedder_data.config.model_files as model_files
from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.config.model_pooling import leaves_prompt_out, pooled
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import Instruction, Recipe, load_recipe

AUTO = Recipe("auto", {})
QWEN = "Instruct: Given a web search query, retrieve relevant passages\nQuery:"


def model_folder(path, *, prompts=None, pooling=None, modules=None, **more):
    """The files beside a model's weights, as sentence-transformers writes them."""
    path.mkdir(parents=True, exist_ok=True)
    if prompts is not None or more:
        config = {"prompts": prompts, **more}
        (path / "config_sentence_transformers.json").write_text(json.dumps(config))
    if pooling is not None:
        kinds = modules or ["Transformer", "Pooling", "Normalize"]
        listed = [
            {
                "idx": i,
                "name": str(i),
                "path": "" if i == 0 else f"{i}_{kind}",
                "type": f"st.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ]
        (path / "modules.json").write_text(json.dumps(listed))
        (path / "1_Pooling").mkdir(exist_ok=True)
        (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(path)


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
        ({}, ("", "")),
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
    silent = model_folder(tmp_path / "silent" / "e5-base-v2", similarity_fn_name="cosine")

    assert with_conventions(AUTO, own).instruction("qa") == Instruction("own: ", "")
    assert with_conventions(AUTO, silent).instruction("qa") == Instruction("query: ", "passage: ")


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
    with pytest.raises(ConfigError, match=r"task_description.*has no place for it"):
        with_conventions(given, plain)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["mean"], "include_prompt": False}, "mean"),
    ],
)
def test_pooling_is_what_the_models_files_say(tmp_path, config, expected):
    folder = model_folder(tmp_path / "mine", pooling=config)

    found = pooled(folder, BertConfig())

    assert found.pooling == expected
    assert found.include_prompt is ("include_prompt" not in config)
    assert leaves_prompt_out(folder) is ("include_prompt" in config)
    assert pooled(folder, BertConfig(), pooling="cls").pooling == "cls"


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": 3},
        {},
        [],
    ],
)
def test_another_pooling_is_refused_unless_one_is_given(tmp_path, config):
    folder = model_folder(tmp_path / "mine", pooling=config)

    with pytest.raises(ConfigError, match=r"expected one of cls, mean, lasttoken.*model\.pooling"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


@pytest.mark.parametrize("kind", ["Dense", "LayerNorm", "LatentAttention"])
def test_a_module_that_cannot_be_computed_is_refused_unless_a_pooling_is_given(tmp_path, kind):
    modules = ["Transformer", "Pooling", kind]
    folder = model_folder(tmp_path / "mine", pooling={"pooling_mode": "mean"}, modules=modules)

    with pytest.raises(ConfigError, match=rf"'st\.models\.{kind}' is neither pooling nor"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), pooling="mean").pooling == "mean"


@pytest.mark.parametrize(
    ("name", "normalised", "expected"),
    [
        ("dot", False, "dot"),
        ("dot", True, "cos"),  # the product of normalised embeddings
        ("cosine", False, "cos"),
        (None, False, "cos"),
        ("euclidean", True, "cos"),
    ],
)
def test_similarity_is_what_the_models_files_say(tmp_path, name, normalised, expected):
    modules = ["Transformer", "Pooling"] + ["Normalize"] * normalised
    pooling = {"pooling_mode": "mean"}
    folder = model_folder(
        tmp_path / "mine", pooling=pooling, modules=modules, similarity_fn_name=name
    )

    assert pooled(folder, BertConfig()).similarity == expected


def test_a_similarity_that_cannot_be_computed_is_refused_unless_one_is_given(tmp_path):
    modules, pooling = ["Transformer", "Pooling"], {"pooling_mode": "mean"}
    folder = model_folder(
        tmp_path / "mine", pooling=pooling, modules=modules, similarity_fn_name="euclidean"
    )

    with pytest.raises(ConfigError, match=r"similarity_fn_name='euclidean'.*model\.similarity"):
        pooled(folder, BertConfig())
    assert pooled(folder, BertConfig(), similarity="dot").similarity == "dot"


def test_a_model_without_files_pools_as_its_kind_does():
    decoder = LlamaConfig(architectures=["LlamaForCausalLM"])

    assert pooled(None, BertConfig()).pooling == "cls"
    assert pooled(None, decoder).pooling == "last"
    assert pooled(None, LlamaConfig()).pooling == "last"


@pytest.mark.parametrize("name", ["config_sentence_transformers.json", "modules.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b"3", b'"text"', b"[{}]"])
def test_a_damaged_file_of_a_model_is_one_clear_error_or_says_nothing(tmp_path, name, content):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(name)):
        RetrievalDataModule(str(folder)).recipe, pooled(str(folder), BertConfig())


@pytest.mark.parametrize("prompts", [["query"], {"query": 3}, "query: ", {"query": ["q"]}])
def test_prompts_of_a_wrong_type_are_refused(tmp_path, prompts):
    folder = model_folder(tmp_path / "mine", prompts=prompts)

    with pytest.raises(ConfigError, match="expected a mapping of names to texts"):
        with_conventions(AUTO, folder)


def hub_cache(root, name, files, *, missing=()):
    """A model as Hugging Face's cache has it, with what it knows to be missing."""
    folder = root / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    for file, content in files.items():
        path = folder / "snapshots" / "abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for file in missing:
        path = folder / ".no_exist" / "abc" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_name_on_the_hub_is_read_from_its_cache_without_a_network(tmp_path, monkeypatch):
    prompt_file = "config_sentence_transformers.json"
    hub_cache(tmp_path, "org/has", {prompt_file: {"prompts": {"query": "q: "}}})
    hub_cache(tmp_path, "org/lacks", {}, missing=[prompt_file, "modules.json"])
    hub_cache(tmp_path, "org/unknown", {})
    find = model_files.try_to_load_from_cache
    monkeypatch.setattr(
        model_files,
        "try_to_load_from_cache",
        lambda model, name: find(model, name, cache_dir=str(tmp_path)),
    )

    assert with_conventions(AUTO, "org/has").instruction("qa") == Instruction("q: ", "")
    assert "could not be fetched" not in with_conventions(AUTO, "org/lacks").origin
    # Not "none" without a word: the file may be there.
    assert "could not be fetched" in with_conventions(AUTO, "org/unknown").origin


# -- with the models -------------------------------------------------------------------------------


@pytest.fixture
def left_padded(tmp_path, unigram):
    """A tiny decoder-like folder: left padding, an appended end, prompts left out of the mean."""
    tokenizer = AutoTokenizer.from_pretrained(unigram)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    folder = tmp_path / "decoder"
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TEXTS = ["where is the abbot", "a second, somewhat longer text about nothing in particular", "so"]


def module_of(folder, tmp_path, **arguments):
    path = tmp_path / "data" / "train.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = [{"query": text, "pos": [f"right {text}"], "neg": [f"wrong {text}"]} for text in TEXTS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = RetrievalDataModule(
        str(folder),
        str(path),
        batch_size=3,
        num_workers=0,
        cache_dir=tmp_path / "cache",
        pad_to_multiple_of=None,
        **arguments,
    )
    made.setup("fit")
    return made


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", ["mean", "lasttoken"])
def test_ids_and_embeddings_are_those_of_sentence_transformers(
    tmp_path, left_padded, mode, include_prompt, layout
):
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "find this : ", "document": "a text : "}
    pooling = {
        "embedding_dimension": 16,
        "pooling_mode": mode,
        "include_prompt": include_prompt,
    }
    model_folder(left_padded, prompts=prompts, pooling=pooling, similarity_fn_name="cosine")
    (left_padded / "2_Normalize").mkdir()
    listed = json.loads((left_padded / "modules.json").read_text())
    for module in listed:
        module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
    (left_padded / "modules.json").write_text(json.dumps(listed))
    theirs = SentenceTransformer(str(left_padded), device="cpu")

    batch = next(iter(module_of(left_padded, tmp_path, layout=layout).train_dataloader()))
    model = BiEncoder(str(left_padded)).eval()
    texts = [TEXTS[row] for row in batch["row"].tolist()]

    with torch.no_grad():
        ours = model._embed(batch, "query")
    expected = torch.from_numpy(theirs.encode_query(texts))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    if layout == "padded":
        ids = theirs.preprocess(texts, prompt=prompts["query"])["input_ids"]
        assert batch["query"]["input_ids"].tolist() == ids.tolist()


def test_a_prompt_that_is_left_out_must_be_known(tmp_path, left_padded):
    model_folder(left_padded, prompts={}, pooling={"pooling_mode": "mean", "include_prompt": False})
    batch = next(iter(module_of(left_padded, tmp_path).train_dataloader()))
    model = BiEncoder(str(left_padded))

    del batch["query_prompt_length"]

    with pytest.raises(ConfigError, match="leaves its prompt out of the mean"):
        model._embed(batch, "query")


def test_an_exported_folder_says_what_the_model_was_trained_with(tmp_path, minilm):
    from sentence_transformers import SentenceTransformer

    source = tmp_path / "e5-small"
    shutil.copytree(minilm, source)
    (source / "config_sentence_transformers.json").write_text("{}")
    data = module_of(source, tmp_path)
    model = BiEncoder(str(source))
    model.trainer = type("Trainer", (), {"datamodule": data, "global_rank": 0, "world_size": 1})()

    model.export(tmp_path / "out", data.tokenizer)

    exported = with_conventions(AUTO, str(tmp_path / "out"))
    assert exported.instruction("qa") == Instruction("query: ", "passage: ")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert theirs.prompts["query"] == "query: "
    assert theirs.prompts["document"] == "passage: "


def test_tasks_keep_their_own_prompts_through_an_export(tmp_path, minilm):
    instructions = {"qa": {"query": "ask "}, "tool": {"query": "do ", "key": "tool "}}
    model = BiEncoder(tiny_bert())
    data = RetrievalDataModule(minilm, recipe={"instruction": instructions})
    model.trainer = type("Trainer", (), {"datamodule": data, "global_rank": 0, "world_size": 1})()

    model.export(tmp_path / "out", None)

    found = with_conventions(AUTO, str(tmp_path / "out"))
    assert found.instruction("qa") == Instruction("ask ", "")
    assert found.instruction("tool") == Instruction("do ", "tool ")


def test_the_report_names_each_datasets_instructions_and_where_they_come_from(tmp_path, minilm):
    none = module_of(minilm, tmp_path)
    named = module_of(minilm, tmp_path, recipe="e5")
    off = module_of(minilm, tmp_path, recipe="e5", add_instruction=False)

    assert none.report()["train"]["data"]["instruction"]["query"] == ""
    assert "data: instruction: none (" in " ".join(str(none.report()).split())
    assert named.report()["train"]["data"]["instruction"] == {
        "query": "query: ",
        "key": "passage: ",
        "origin": "recipe e5",
    }
    assert "query 'query: ', key 'passage: ' (recipe e5)" in " ".join(str(named.report()).split())
    assert off.report()["train"]["data"]["instruction"]["origin"].endswith("add_instruction=false")


def test_a_source_has_a_description_of_its_task(tmp_path, minilm):
    source = tmp_path / "instruct"
    shutil.copytree(minilm, source)
    model_folder(source, prompts={"query": QWEN, "document": ""})
    plain = module_of(source, tmp_path)
    path = tmp_path / "data" / "train.jsonl"
    described = RetrievalDataModule(
        str(source),
        {"a": {"path": str(path), "task_description": "Find it"}, "b": str(path)},
        batch_size=3,
        cache_dir=tmp_path / "cache",
    )
    described.setup("fit")

    found = {name: entry["instruction"] for name, entry in described.report()["train"].items()}
    assert found["a"]["query"] == "Instruct: Find it\nQuery:"
    assert found["b"]["query"] == plain.report()["train"]["data"]["instruction"]["query"] == QWEN
    text = described.tokenizer.decode(
        next(iter(batch for batch in described.train_dataloader() if batch["dataset"] == "a"))[
            "query"
        ]["input_ids"][0]
    )
    assert "find it" in text
