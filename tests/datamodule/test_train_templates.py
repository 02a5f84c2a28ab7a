"""The key template makes the texts of corpora that training rows are joined to, too."""

import pytest
from datamodule_cases import Recorder, make_datamodule, make_trainer, write

from llm_embedder_data import ConfigError, DataError

PASSAGES = [{"_id": f"d{i}", "title": "t", "text": f"p{i}", "url": f"u{i}"} for i in range(8)]
JUDGED = "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(8))


@pytest.fixture
def sources(tmp_path):
    """Training rows of ids, by the way in which they name their corpus."""
    folder = tmp_path / "beir"
    corpus = write(folder / "corpus.jsonl", PASSAGES)
    write(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"ask {i}"} for i in range(8)])
    (folder / "qrels").mkdir()
    (folder / "qrels/train.tsv").write_text(JUDGED)
    rows = [{"query": f"ask {i}", "pos": [f"d{i}"]} for i in range(8)]
    return {
        "folder": folder,
        "ids": {"path": write(tmp_path / "ids.jsonl", rows), "corpus": str(corpus)},
        "own": {
            "path": tmp_path / "ids.jsonl",
            "corpus": {"path": str(corpus), "key_template": "{title} {text}"},
        },
    }


def joined(tmp_path, source, **settings):
    """A data module of one training set."""
    return make_datamodule(
        tmp_path,
        train_data={"qa": source},
        add_instruction=False,
        on_no_negatives="keep",
        train_group_size=1,
        batch_size=2,
        **settings,
    )


def keys(tmp_path, source, **settings):
    """The texts of all keys of an epoch."""
    module = joined(tmp_path, source, **settings)
    module.prepare_data()
    module.setup("fit")
    return {
        module.tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "")
        for batch in module.train_dataloader()
        for ids in batch["key"]["input_ids"]
    }


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize("name", ["folder", "ids"])
def test_the_template_of_the_data_module_makes_the_keys_of_training_rows(
    tmp_path, sources, name, tokenize
):
    usual = keys(tmp_path, sources[name], tokenize=tokenize)
    other = keys(tmp_path, sources[name], tokenize=tokenize, key_template="{url} {text}")

    assert usual == {f"tp{i}" for i in range(8)}
    assert other == {f"u{i}p{i}" for i in range(8)}
    with pytest.raises(DataError, match=r"field 'uri' of key_template.*did you mean 'url'"):
        keys(tmp_path, sources[name], key_template="{uri} {text}")


def test_a_corpus_with_a_template_keeps_it(tmp_path, sources):
    expected = {f"tp{i}" for i in range(8)}
    assert keys(tmp_path, sources["own"], key_template="{url} {text}") == expected


@pytest.mark.parametrize("name", ["folder", "ids", "own"])
def test_a_run_does_not_go_on_with_texts_of_another_template(tmp_path, sources, name):
    def fit(source, ckpt_path=None, **settings):
        trainer = make_trainer(max_epochs=1, limit_train_batches=2)
        trainer.fit(
            Recorder(), datamodule=joined(tmp_path, source, **settings), ckpt_path=ckpt_path
        )
        return trainer

    source, saved, other = sources[name], tmp_path / "saved.ckpt", "{url} {text}"
    fit(source).save_checkpoint(saved)

    if name == "own":
        fit(source, saved, key_template=other)  # its corpus keeps its texts
        source = source | {"corpus": source["corpus"] | {"key_template": other}}
    with pytest.raises(ConfigError, match=r"(?s)does not continue.*data\.key_template"):
        fit(source, saved, key_template=other)
