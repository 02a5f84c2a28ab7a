"""An encoder, its data module and its export follow the conventions of the model's files."""

import json
import shutil

import pytest
import torch
from convention_cases import AUTO, QWEN, model_folder
from transformers import AutoTokenizer, LlamaConfig, LlamaModel

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.config.model_prompts import with_conventions
from llm_embedder_data.config.recipes import Instruction

TEXTS = ["where is the abbot", "a second, somewhat longer text about nothing in particular", "so"]


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


def test_encode_asks_for_the_length_of_a_prompt_that_is_left_out(tmp_path, left_padded):
    """Without it, the prompt would be in the mean unnoticed."""
    prompts = {"query": "find this : ", "document": "a text : "}
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    model_folder(left_padded, prompts=prompts, pooling=pooling)
    batch = next(iter(module_of(left_padded, tmp_path).train_dataloader()))
    model = BiEncoder(str(left_padded)).eval()

    for embed in (model.encode, model):
        with pytest.raises(ConfigError, match=r"prompt_length=batch\[\"query_prompt_length\"\]"):
            embed(batch["query"])
    with torch.no_grad():
        found = model(batch["query"], prompt_length=batch["query_prompt_length"])
        torch.testing.assert_close(found, model._embed(batch, "query"))
        assert not torch.allclose(found, model.encode(batch["query"], prompt_length=0))


def test_an_exported_folder_says_what_the_model_was_trained_with(tmp_path, minilm_model):
    from sentence_transformers import SentenceTransformer

    source = tmp_path / "e5-small"
    shutil.copytree(minilm_model, source)
    (source / "config_sentence_transformers.json").write_text("{}")
    data = module_of(source, tmp_path)

    BiEncoder(str(source)).export(tmp_path / "out", datamodule=data, check=False)

    exported = with_conventions(AUTO, str(tmp_path / "out"))
    assert exported.instruction("qa") == Instruction("query: ", "passage: ")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert theirs.prompts["query"] == "query: "
    assert theirs.prompts["document"] == "passage: "


def test_tasks_keep_their_own_prompts_through_an_export(tmp_path, minilm_model):
    instructions = {"qa": {"query": "ask "}, "tool": {"query": "do ", "key": "tool "}}
    data = RetrievalDataModule(minilm_model, recipe={"instruction": instructions})

    BiEncoder(minilm_model).export(tmp_path / "out", datamodule=data, check=False)

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
