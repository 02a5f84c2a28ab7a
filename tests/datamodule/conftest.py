"""Data sets that all tests of the data module share."""

import pytest
from datamodule_cases import write_corpus, write_eval, write_train


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three training sets of different tasks and sizes, and two eval sets with their corpora."""
    folder = tmp_path_factory.mktemp("datamodule")
    # 4 rows in a global batch: 5 + 4 + 2 steps an epoch, and rows that rotate in two of the sets.
    write_train(folder / "qa" / "train.jsonl", "qa", 23, scored=True)
    write_train(folder / "tool" / "train.jsonl", "tool", 18)
    write_train(folder / "chat" / "train.jsonl", "chat", 8, scored="some")
    write_corpus(folder / "qa" / "corpus.jsonl", 17)
    write_corpus(folder / "tool" / "corpus.jsonl", 5)
    write_eval(folder / "qa" / "eval.jsonl", "qa", 7, 17)
    write_eval(folder / "tool" / "eval.jsonl", "tool", 4, 5, ids="str")
    return folder
