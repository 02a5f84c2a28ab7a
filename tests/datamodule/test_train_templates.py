"""The key template makes the texts of corpora that training rows are joined to, too."""

import pytest
from datamodule_cases import make_datamodule, write

from llm_embedder_data import DataError

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


def keys(tmp_path, source, **settings):
    """The texts of all keys of an epoch."""
    module = make_datamodule(
        tmp_path,
        train_data={"qa": source},
        add_instruction=False,
        on_no_negatives="keep",
        train_group_size=1,
        batch_size=2,
        **settings,
    )
    module.setup("fit")
    return {
        module.tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "")
        for batch in module.train_dataloader()
        for ids in batch["key"]["input_ids"]
    }


@pytest.mark.parametrize("name", ["folder", "ids"])
def test_the_template_of_the_data_module_makes_the_keys_of_training_rows(tmp_path, sources, name):
    assert keys(tmp_path, sources[name]) == {f"tp{i}" for i in range(8)}
    assert keys(tmp_path, sources[name], key_template="{url} {text}") == {
        f"u{i}p{i}" for i in range(8)
    }
    with pytest.raises(DataError, match=r"field 'uri' of key_template.*did you mean 'url'"):
        keys(tmp_path, sources[name], key_template="{uri} {text}")


def test_a_corpus_with_a_template_keeps_it(tmp_path, sources):
    expected = {f"tp{i}" for i in range(8)}
    assert keys(tmp_path, sources["own"], key_template="{url} {text}") == expected
