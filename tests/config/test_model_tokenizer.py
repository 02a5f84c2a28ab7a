"""Texts are lower-cased where the model's files ask for it, as sentence-transformers does."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_models import save_bert
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.config.model_files import read_model_json
from llm_embedder_data.config.model_tokenizer import load_tokenizer

TEXTS = ["Pier", "PIER nine", "pier"]


@pytest.fixture
def cased(tmp_path):
    """A folder with a tokenizer that tells upper case from lower case."""
    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "Pier", "pier", "PIER", "nine"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    )
    tokenizer.save_pretrained(tmp_path / "cased")
    return save_bert(tmp_path / "model", tmp_path / "cased")


def asks_for_lower_case(folder, value=True):
    with open(f"{folder}/sentence_bert_config.json", "w") as file:
        json.dump({"max_seq_length": 16, "do_lower_case": value}, file)


def ids(tokenizer):
    return tokenizer(TEXTS, add_special_tokens=False)["input_ids"]


def test_without_a_word_of_the_model_its_tokenizer_is_as_it_is(cased):
    assert ids(load_tokenizer(cased)) == [[4], [6, 7], [5]]
    asks_for_lower_case(cased, False)
    assert ids(load_tokenizer(cased)) == [[4], [6, 7], [5]]


def test_a_model_of_lower_case_gets_it_once(cased, minilm, tmp_path):
    asks_for_lower_case(cased)
    tokenizer = load_tokenizer(cased)
    tokenizer.save_pretrained(cased)

    assert ids(tokenizer) == ids(load_tokenizer(cased)) == [[5], [5, 7], [5]]
    assert load_tokenizer(cased).backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()

    uncased = save_bert(tmp_path / "uncased", minilm)
    before = load_tokenizer(uncased).backend_tokenizer.to_str()
    asks_for_lower_case(uncased)
    assert load_tokenizer(uncased).backend_tokenizer.to_str() == before


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_batches_hold_the_lower_case(cased, tmp_path, tokenize):
    asks_for_lower_case(cased)
    rows = [{"query": text, "pos": [text], "neg": ["nine"]} for text in TEXTS]
    module = RetrievalDataModule(
        cased, rows, batch_size=3, tokenize=tokenize, num_workers=0, cache_dir=tmp_path / "cache"
    )
    module.prepare_data()
    module.setup("fit")

    (batch,) = module.train_dataloader()

    held = batch["query"]["input_ids"][batch["query"]["attention_mask"].bool()].tolist()
    assert sorted(held) == [5, 5, 5, 7]


def test_embeddings_are_those_of_sentence_transformers(cased):
    SentenceTransformer(cased).save(cased)  # mean pooling, which the folder then says
    asks_for_lower_case(cased)

    tokens = load_tokenizer(cased)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = BiEncoder(cased).eval().encode(tokens)

    theirs = SentenceTransformer(cased, device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
    assert np.allclose(theirs[0], theirs[2])


@pytest.mark.parametrize("older_names", [False, True])
def test_arguments_that_the_file_names_act_as_in_sentence_transformers(cased, older_names):
    SentenceTransformer(cased).save(cased)  # mean pooling, which the folder then says
    names = ("config_args", "model_args", "tokenizer_args")
    if not older_names:
        names = ("config_kwargs", "model_kwargs", "processor_kwargs")
    given = (
        {"hidden_act": "relu"},
        {"dtype": "float16", "trust_remote_code": True},
        {"padding_side": "left"},
    )
    with open(f"{cased}/sentence_bert_config.json", "w") as file:
        json.dump({"max_seq_length": 16} | dict(zip(names, given, strict=True)), file)

    tokenizer = load_tokenizer(cased)
    tokens = tokenizer(["Pier", "PIER nine"], padding=True, return_tensors="pt")
    encoder = BiEncoder(cased).eval()
    with torch.no_grad():
        ours = encoder.encode(tokens)

    assert tokens["input_ids"][0, 0] == tokenizer.pad_token_id
    assert ours.dtype == torch.float32  # the Trainer sets the precision
    theirs = SentenceTransformer(cased, device="cpu", model_kwargs={"dtype": torch.float32})
    assert theirs[0].model.config.hidden_act == encoder.encoder.config.hidden_act == "relu"
    expected = theirs.encode(["Pier", "PIER nine"], normalize_embeddings=True)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("given", [3, ["padding_side"], "left"])
def test_arguments_must_be_a_mapping(cased, given):
    with open(f"{cased}/sentence_bert_config.json", "w") as file:
        json.dump({"tokenizer_args": given, "config_args": given}, file)

    with pytest.raises(ConfigError, match=r"tokenizer_args=.*expected a mapping"):
        load_tokenizer(cased)
    with pytest.raises(ConfigError, match=r"config_args=.*expected a mapping"):
        BiEncoder(cased)


def test_an_older_name_of_the_file_is_found(cased):
    with open(f"{cased}/sentence_roberta_config.json", "w") as file:
        json.dump({"max_seq_length": 16, "do_lower_case": True}, file)

    assert ids(load_tokenizer(cased)) == [[5], [5, 7], [5]]


def test_the_file_is_read_like_the_others_of_a_model(cased):
    with open(f"{cased}/sentence_bert_config.json", "w") as file:
        file.write("{")
    with pytest.raises(ValueError, match=re.escape("sentence_bert_config.json")):
        load_tokenizer(cased)


@pytest.mark.parametrize("lower_case", [False, True])
def test_a_transformer_in_a_folder_of_its_own_is_found(cased, lower_case):
    """Older releases of sentence-transformers wrote weights and tokenizer to 0_Transformer."""
    asks_for_lower_case(cased, lower_case)
    inner = Path(cased, "0_Transformer")
    files = list(Path(cased).iterdir())
    inner.mkdir()
    for file in files:
        file.rename(inner / file.name)
    Path(cased, "1_Pooling").mkdir()
    Path(cased, "1_Pooling", "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    kinds = {"0_Transformer": "models.Transformer", "1_Pooling": "models.Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    Path(cased, "modules.json").write_text(json.dumps(modules))

    tokenizer, model = load_tokenizer(cased), BiEncoder(cased).eval()

    expected = [[5], [5, 7], [5]] if lower_case else [[4], [6, 7], [5]]
    assert ids(tokenizer) == expected
    theirs = SentenceTransformer(cased, device="cpu")
    found = torch.cat([model.encode(theirs.preprocess([text])) for text in TEXTS])
    wanted = theirs.encode(TEXTS, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(found.detach(), wanted)
    model.export(f"{cased}-exported", tokenizer)
    assert read_model_json(f"{cased}-exported", "sentence_bert_config.json")["max_seq_length"] == 16
