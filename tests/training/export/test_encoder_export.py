"""An exported folder is the encoder: sentence-transformers reads it token for token."""

import json
import resource
import sys

import pytest
import torch
from tiny_models import save_bert, tiny_qwen
from torch.testing import assert_close
from training_cases import quiet_trainer
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.batches.collator import RetrievalDataCollator
from llm_embedder_data.training.export import encoder_export as export_module

TEXTS = [
    "Where do otters sleep?",
    "In kelp, hand in hand.",
    "日本語の文章。",
    ".",
    "much longer text " * 40,
]
LENGTH = 24


@pytest.fixture
def bert(minilm, tmp_path):
    """The folder of a small BERT with its tokenizer."""
    return save_bert(tmp_path / "bert", minilm, initializer_range=0.5)


def data_of(folder, **settings):
    settings = {"query_max_length": LENGTH, "key_max_length": LENGTH, **settings}
    return RetrievalDataModule(folder, **settings)


def assert_reads_alike(folder, model, tokenizer, prompts, length=LENGTH):
    """sentence-transformers makes the ids and vectors of training batches."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu")
    collator = RetrievalDataCollator(tokenizer, key_max_length=length, prompt_lengths=True)
    model.eval()
    for name, prompt in prompts.items():
        batch = collator({"content": TEXTS, "key_instruction": prompt})
        found = theirs.preprocess(TEXTS, prompt=prompt)
        for column in ("input_ids", "attention_mask"):
            assert found[column].tolist() == batch["content"][column].tolist()
        n_prompt = 0 if model.include_prompt else batch["content_prompt_length"]
        with torch.no_grad():
            expected = model.encode(batch["content"], None, n_prompt)
        vectors = theirs.encode(TEXTS, prompt_name=name, convert_to_tensor=True)
        assert_close(vectors, expected, atol=1e-5, rtol=1e-4)
    return theirs


@pytest.mark.parametrize(
    ("pooling", "similarity"), [("mean", "cos"), ("cls", "dot"), ("last", "cos")]
)
def test_an_encoder_reads_alike(bert, tmp_path, pooling, similarity):
    data = data_of(bert, recipe="e5")
    model = BiEncoder(bert, pooling=pooling, similarity=similarity)

    model.export(tmp_path / "out", datamodule=data)

    prompts = {"query": "query: ", "document": "passage: "}
    theirs = assert_reads_alike(tmp_path / "out", model, data.tokenizer, prompts)
    assert theirs.max_seq_length == LENGTH
    assert theirs.prompts == prompts
    assert theirs.similarity_fn_name == {"cos": "cosine", "dot": "dot"}[similarity]


def test_a_prompt_that_the_mean_leaves_out_is_left_out(bert, tmp_path):
    BiEncoder(bert, pooling="mean").export(tmp_path / "first")
    config = tmp_path / "first/1_Pooling/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"include_prompt": False}))
    data = data_of(str(tmp_path / "first"), recipe="e5")
    model = BiEncoder(str(tmp_path / "first"))

    model.export(tmp_path / "out", datamodule=data)

    assert (
        json.loads((tmp_path / "out/1_Pooling/config.json").read_text())["include_prompt"] is False
    )
    assert_reads_alike(
        tmp_path / "out", model, data.tokenizer, {"query": "query: ", "document": "passage: "}
    )


def test_a_decoder_with_appended_eos_left_padding_and_a_chat_template_reads_alike(
    unigram, tmp_path
):
    tokenizer = AutoTokenizer.from_pretrained(unigram)
    tokenizer.chat_template = "{% for m in messages %}<chat>{{ m['content'] }}{% endfor %}"
    model = BiEncoder(tiny_qwen(len(tokenizer)), pooling="last")
    data = data_of(tokenizer, recipe={"instruction": {"*": {"query": "Instruct: find\nQuery: "}}})

    model.export(tmp_path / "out", datamodule=data)

    ids = data.tokenizer("word")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert data.tokenizer.chat_template
    theirs = assert_reads_alike(
        tmp_path / "out",
        model,
        data.tokenizer,
        {"query": "Instruct: find\nQuery: ", "document": ""},
    )
    assert theirs.tokenizer.padding_side == "left"


def test_eos_that_a_flag_appends_is_appended(tmp_path):
    from transformers import LlamaTokenizer

    words = ["▁", "a", "b", "c", "d", "e", "▁a"]
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *words])}
    tokenizer = LlamaTokenizer(
        vocab=vocab, merges=[("▁", "a")], add_bos_token=True, add_eos_token=True, pad_token="</s>"
    )
    tokenizer.padding_side = "left"
    assert tokenizer("a b")["input_ids"][-1] == tokenizer.eos_token_id
    model = BiEncoder(tiny_qwen(len(tokenizer)), pooling="last")

    model.export(tmp_path / "out", tokenizer, max_length=LENGTH)

    assert_reads_alike(tmp_path / "out", model, tokenizer, {"query": "", "document": ""})


def test_the_length_is_the_keys_else_the_models_own(bert, tmp_path):
    model = BiEncoder(bert)

    def length(name, **settings):
        model.export(tmp_path / name, check=False, **settings)
        return json.loads((tmp_path / name / "sentence_bert_config.json").read_text())

    assert length("keys", datamodule=data_of(bert, key_max_length=40))["max_seq_length"] == 40
    assert length("given", max_length=12)["max_seq_length"] == 12
    assert length("own")["max_seq_length"] == 64  # its positions
    assert "queries had at most 24 tokens" in (tmp_path / "keys/README.md").read_text()
    again = BiEncoder(str(tmp_path / "given"))
    again.export(tmp_path / "again", check=False)
    found = json.loads((tmp_path / "again/sentence_bert_config.json").read_text())
    assert found["max_seq_length"] == 12
    with pytest.raises(ConfigError, match=r"max_length=65.*has positions for 64"):
        model.export(tmp_path / "long", max_length=65)


def test_a_disk_that_is_full_while_weights_are_written_is_one_sentence(bert, tmp_path):
    model = BiEncoder(bert, pooling="mean")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"out: the export cannot be written: .*too large"):
            model.export(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"pooling": "cls"}, "computes other vectors"),
        ({"max_length": 23}, "reads the exported folder in another way"),
        ({"similarity": "dot"}, "computes other vectors"),
    ],
)
def test_a_folder_that_reads_otherwise_is_not_written(
    bert, tmp_path, monkeypatch, is_installed, wrong, sentence
):
    if not is_installed:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    write = export_module.write_encoder_files
    monkeypatch.setattr(
        export_module,
        "write_encoder_files",
        lambda folder, **settings: write(folder, **(settings | wrong)),
    )

    with pytest.raises(ConfigError, match=sentence):
        BiEncoder(bert, pooling="mean").export(tmp_path / "out", datamodule=data_of(bert))

    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_without_sentence_transformers_the_files_are_read_here_and_it_is_said(
    bert, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    BiEncoder(bert).export(tmp_path / "out", datamodule=data_of(bert, recipe="e5"))

    card = (tmp_path / "out/README.md").read_text()
    assert "Compared with transformers (sentence-transformers is not installed) on" in card


def test_a_folder_with_files_is_refused_and_only_a_model_is_replaced(bert, tmp_path):
    model, out = BiEncoder(bert), tmp_path / "out"
    model.export(out, check=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()

    with pytest.raises(ConfigError, match=r"exists and has files.*overwrite=true"):
        model.export(out, check=False)
    with pytest.raises(ConfigError, match="not an exported model"):
        model.export(tmp_path / "mine", overwrite=True)
    with pytest.raises(ConfigError, match="is not a folder"):
        model.export(tmp_path / "mine/thesis.txt", overwrite=True)
    (out / "old.txt").touch()
    model.export(out, check=False, overwrite=True)
    assert not (out / "old.txt").exists()
    assert (tmp_path / "mine/thesis.txt").exists()


def test_an_export_changes_nothing_about_the_training(bert, tmp_path):
    model = BiEncoder(bert)
    model.encoder.embeddings.eval()  # a mode of its own
    state, modes = torch.get_rng_state(), [module.training for module in model.modules()]

    model.export(tmp_path / "out", datamodule=data_of(bert))

    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert model.encoder.pooler is None


def test_adapters_are_merged_on_a_copy(bert, tmp_path):
    peft = pytest.importorskip("peft")
    model = BiEncoder(bert)
    plain = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    adapted = peft.get_peft_model(
        model.encoder, peft.LoraConfig(target_modules=["query"], init_lora_weights=False)
    )
    model.encoder = adapted
    before = {name: value.clone() for name, value in adapted.state_dict().items()}

    model.export(tmp_path / "out", datamodule=data_of(bert))

    merged = BiEncoder(str(tmp_path / "out")).encoder.state_dict()
    assert sorted(merged) == sorted(plain)
    changed = [name for name in plain if not torch.equal(merged[name], plain[name])]
    assert changed
    assert all(".query." in name for name in changed)
    assert_close(adapted.state_dict(), before, atol=0, rtol=0)


def test_the_card_says_what_was_trained_on_and_measured(bert, sample_dir, tmp_path):
    data = data_of(
        bert,
        train_data={"qa": f"{sample_dir}/qa/train.jsonl"},
        eval_data={"qa": f"{sample_dir}/qa/eval.jsonl"},
        corpus={"qa": f"{sample_dir}/qa/corpus.jsonl"},
        batch_size=4,
        train_group_size=2,
        seed=7,
        cache_dir=tmp_path / "cache",
    )
    trainer = quiet_trainer(max_steps=2, val_check_interval=2)
    model = BiEncoder(bert, learning_rate=0.001)
    trainer.fit(model, datamodule=data)
    model.export(tmp_path / "out")

    card = (tmp_path / "out/README.md").read_text()
    (digest,) = data.train_sets()["qa"].digests
    rows = len(data.train_sets()["qa"].kept)
    assert f"| qa | qa | {rows} | 4 | {rows // 4} | 1.0 |" in card
    assert digest in card
    assert "| optimizer steps | 2 |" in card
    assert "| seed | 7 |" in card
    assert "| learning_rate | 0.001 |" in card
    measured = float(trainer.callback_metrics["val/qa/ndcg@10"])
    assert f"| val/qa/ndcg@10 | {measured:.4f} |" in card
    assert str(tmp_path) not in card  # a folder of this machine means nothing elsewhere


def test_what_was_compared_is_logged(bert, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("llm_embedder_data.training.export.model_card.rank_zero_info", said.append)

    BiEncoder(bert).export(tmp_path / "out", datamodule=data_of(bert))

    assert "Compared with sentence-transformers" in " ".join(said)


def test_an_encoder_that_diverged_is_not_exported(bert, tmp_path):
    model = BiEncoder(bert)
    torch.nn.init.constant_(next(model.encoder.encoder.parameters()), torch.nan)

    with pytest.raises(ConfigError, match="the encoder gives vectors that are not finite"):
        model.export(tmp_path / "out", AutoTokenizer.from_pretrained(bert))

    assert not (tmp_path / "out").exists()
