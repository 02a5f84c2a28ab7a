"""Rows with a common query or positive come in different global batches, out of files."""

import re

import pytest
from datamodule_cases import Recorder, batches, make_datamodule, make_trainer, opened, write

from llm_embedder_data import ConfigError


@pytest.fixture(scope="module")
def repeating(tmp_path_factory):
    """48 rows: 12 queries of four rows each, and 16 positives of three rows each."""
    folder = tmp_path_factory.mktemp("repeating")
    rows = [
        {"query": f"query {i % 12}", "pos": [f"answer {i // 3}"], "neg": [f"other {i}"]}
        for i in range(48)
    ]
    write(folder / "qa" / "train.jsonl", rows)
    return folder


def made(folder, **arguments):
    train = {"train_data": {"qa": str(folder / "qa" / "train.jsonl")}, "batch_size": 8}
    return make_datamodule(folder, **(train | arguments))


def module_of(folder, **arguments):
    return opened(made(folder, **arguments))


def n_repeated(seen):
    """How many queries and positives of the batches stand in the same batch before."""
    count = 0
    for batch in seen:
        for ids in (batch["query_text_id"], batch["positive_id"][:, 0]):
            count += len(ids) - len(set(ids.tolist()))
    return count


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_no_batch_has_a_query_or_a_positive_twice_and_no_row_is_lost(repeating, tokenize):
    assert n_repeated(batches(module_of(repeating))) > 5

    seen = batches(module_of(repeating, no_duplicates=True, tokenize=tokenize))

    assert n_repeated(seen) == 0
    assert sorted(row for batch in seen for row in batch["row"].tolist()) == list(range(48))


def test_rows_that_were_dropped_leave_the_texts_of_the_others_alone(repeating):
    arguments = {"max_sample_num": 36, "batch_size": 6}
    assert n_repeated(batches(module_of(repeating, **arguments))) > 5

    assert n_repeated(batches(module_of(repeating, **arguments, no_duplicates=True))) == 0


def test_windows_of_length_keep_texts_apart_too(repeating):
    seen = batches(module_of(repeating, no_duplicates=True, length_window=6))

    assert n_repeated(seen) == 0


def test_the_doctor_counts_the_collisions_that_are_left(repeating):
    def collisions(module):
        checks = module.diagnose(world_size=2)["datasets"]["qa"]["checks"]
        of_page = module.plot_data(world_size=2)["collisions"]["qa"]
        return checks["expected_collisions"]["count"], of_page

    at_random, _ = collisions(module_of(repeating, batch_size=4))
    apart, of_page = collisions(module_of(repeating, batch_size=4, no_duplicates=True))

    assert at_random > 0.1
    assert apart == 0
    assert of_page == {"worlds": [2], "pairs": [0.0]}


def test_a_text_in_more_rows_than_there_are_batches_is_said(tmp_path):
    rows = [{"query": f"q{i}", "pos": ["yes"], "neg": ["no"]} for i in range(20)]
    write(tmp_path / "qa" / "train.jsonl", rows)
    sentence = "a text is in 20 rows, more than the 2 global batches of a pass"

    module = made(tmp_path, no_duplicates=True)
    module.prepare_data()
    with pytest.warns(UserWarning, match=sentence):
        module.setup("fit")

    assert any(note.startswith(sentence) for note in module.report()["train"]["qa"]["notes"])
    assert len(batches(module)) == 2


def test_a_checkpoint_of_other_batches_is_refused(repeating, tmp_path):
    trainer = make_trainer(max_steps=3)
    trainer.fit(Recorder(), datamodule=module_of(repeating))
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    message = re.escape("no_duplicates\n  checkpoint: False\n")
    with pytest.raises(ConfigError, match=message):
        make_trainer(max_steps=6).fit(
            Recorder(),
            datamodule=module_of(repeating, no_duplicates=True),
            ckpt_path=tmp_path / "last.ckpt",
        )


def test_random_order_has_no_passes_to_keep_texts_apart_in(repeating):
    with pytest.raises(ConfigError, match=r"no_duplicates=true with data\.organize_method"):
        module_of(repeating, no_duplicates=True, organize_method="random")
