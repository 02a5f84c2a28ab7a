"""Through the data module: the tokenizer's own tokens, cached or not, and what lengths may be."""

import warnings

import pytest
from datamodule_cases import batches, digest, make_datamodule, make_tokenizer, opened, write
from lightning import Trainer
from tokenizers import AddedToken
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from llm_embedder_data import BiEncoder
from llm_embedder_data.config import ConfigError

TEXTS = [
    "two\nlines",
    "  lead",
    "tab\tand\u00a0nbsp",
    "trail  ",
    "plain words",
    "a fox",
    "",
    "日本 a",
]


class Changing(BertTokenizerFast):
    """Changes texts in its own call."""

    def __call__(self, text=None, *args, **kwargs):
        many = isinstance(text, list)
        text = [one.replace("fox", "dog") for one in text] if many else text.replace("fox", "dog")
        return super().__call__(text, *args, **kwargs)


def rows(path):
    return str(
        write(
            path,
            [
                {"query": f"{text} q", "pos": [f"{text} p"], "neg": [f"{text} n"], "task": "qa"}
                for text in TEXTS
            ],
        )
    )


def with_added_break(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("\n"), AddedToken("\u00a0", normalized=False)])
    return tokenizer


@pytest.mark.parametrize("load", [Changing.from_pretrained, with_added_break])
@pytest.mark.parametrize("instruction", ["query: ", "fox", ""])
def test_cached_or_not_ids_are_the_tokenizers_own(minilm, tmp_path, load, instruction):
    tokenizer = load(minilm)
    recipe = {"instruction": {"*": {"query": instruction, "key": ""}}}
    one, other = (
        opened(
            make_datamodule(
                tmp_path,
                tokenizer=tokenizer,
                train_data=rows(tmp_path / "t.jsonl"),
                recipe=recipe,
                tokenize=how,
                train_group_size=2,
            )
        )
        for how in ("on-the-fly", "cached")
    )

    found = [digest(batch) for batch in batches(other)]
    assert found == [digest(batch) for batch in batches(one)]
    for batch in one.train_dataloader():
        own = tokenizer(
            [f"{instruction}{TEXTS[row]} q" for row in batch["row"].tolist()],
            truncation=True,
            max_length=24,
        )["input_ids"]
        real = batch["query"]["attention_mask"] == 1
        ids = batch["query"]["input_ids"]
        assert [row[m].tolist() for row, m in zip(ids, real, strict=True)] == own
    said = "tokenized on the fly in spite of data.tokenize=cached"
    assert (said in str(other.report()).replace("\n", " ")) == isinstance(tokenizer, Changing)


@pytest.mark.parametrize("name", ["query_max_length", "key_max_length"])
@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize("settings", [{}, {"add_instruction": False}, {"cross": True}])
def test_a_length_below_the_special_tokens_is_refused_at_setup(
    minilm, tmp_path, name, tokenize, settings
):
    arguments = {"tokenizer": minilm, "train_data": rows(tmp_path / "t.jsonl"), name: 2}
    with pytest.raises(ConfigError, match=rf"data\.{name}=2: .*give at least 3"):
        opened(make_datamodule(tmp_path, **arguments, tokenize=tokenize, **settings))


def test_a_length_above_what_the_tokenizer_knows_of_its_model_is_said_once(minilm, tmp_path):
    train_data = rows(tmp_path / "t.jsonl")
    long = make_datamodule(tmp_path, tokenizer=minilm, train_data=train_data, key_max_length=513)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        long.prepare_data()
        long.setup("fit")
        long.setup("fit")

    said = [str(one.message) for one in caught if "model_max_length" in str(one.message)]
    assert len(said) == 1
    assert said[0].startswith("data.key_max_length=513: according to its tokenizer")
    assert "the model takes 512 tokens" in said[0]


@pytest.mark.parametrize(
    ("length", "multiple", "fits"), [(32, 8, True), (33, None, False), (30, 20, False)]
)
def test_training_on_texts_longer_than_the_positions_ends_before_the_first_step(
    tmp_path, length, multiple, fits
):
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=32,
    )  # fmt: skip
    data = make_datamodule(
        tmp_path,
        tokenizer=tokenizer,
        train_data=rows(tmp_path / "t.jsonl"),
        query_max_length=length,
        pad_to_multiple_of=multiple,
        on_bad_row="skip",
    )
    trainer = Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = BiEncoder(BertModel(config))

    if fits:
        trainer.fit(model, datamodule=data)
        assert trainer.global_step == 1
    else:
        with pytest.raises(ConfigError, match=rf"data\.query_max_length={length}.* for 32 tokens"):
            trainer.fit(model, datamodule=data)
