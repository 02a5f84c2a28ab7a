"""Limits on negatives, through the data module: batches, caches, reports and restarts."""

import re
import warnings
from pathlib import Path

import lightning
import pytest
from datamodule_cases import (
    RECIPE,
    Recorder,
    as_rank,
    batches,
    digest,
    make_datamodule,
    make_tokenizer,
    make_trainer,
    opened,
    write,
)
from slow_cases import mostly_slow

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.core.hashing import text_ids

# In epochs 0 and 1 a negative must lie far below the positive, from epoch 2 on a little.
SCHEDULE = {"relative_margin": {0: 0.3, 2: 0.1}, "range_max": {0: 4, 1: 2}}
POLICIES = [
    {"range_min": 1, "range_max": 4},
    {"min_score": -14.0, "max_score": 9.0, "select_negative": "teacher+"},
    {"absolute_margin": 1.0, "select_positive": "teacher-pos", "select_negative": "teacher-"},
    {"relative_margin": 0.1, "select_positive": "teacher", "stable_distill": True},
    {**SCHEDULE, "select_negative": "first"},
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two scored datasets, in which a margin empties some rows."""
    folder = tmp_path_factory.mktemp("scored")
    for task, n_rows in (("qa", 23), ("tool", 14)):
        rows = []
        for i in range(n_rows):
            pos, neg = [f"{task} p{i}"], [f"{task} n{i} {n}" for n in range(5)]
            near = [0.0, 0.9, 1.7, 2.5][i % 4]  # rows of the first kind lose all to 0.1
            scores = [10.0, *(10.0 - near - n * near / 3 for n in range(5))]
            scores = scores if task == "qa" else [score - 20.0 for score in scores]
            rows.append(
                {"query": f"{task} q{i}", "pos": pos, "neg": neg, "task": task}
                | {"teacher_scores": scores}
            )
        write(folder / task / "train.jsonl", rows)
    return folder


def make(folder, **arguments):
    data = {name: str(folder / name / "train.jsonl") for name in ("qa", "tool")}
    return make_datamodule(folder, **{"train_data": data, **arguments})


def files_of(folder):
    """All files of a cache that hold rows or tokens, with the times they were written."""
    return {
        path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.suffix != ".lock"
    }


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: ", ".join(policy))
@pytest.mark.parametrize("workers", mostly_slow([0, 2], 0))
def test_cached_batches_under_a_policy_are_those_made_on_the_fly(scored, policy, workers):
    one, other = (
        opened(make(scored, tokenize=how, num_workers=workers, **policy))
        for how in ("on-the-fly", "cached")
    )

    for epoch in (0, 1, 2):
        wanted, found = ([digest(b) for b in batches(dm, epoch)] for dm in (one, other))
        assert wanted
        assert found == wanted


def test_another_policy_reads_and_tokenizes_nothing_again(scored, tmp_path):
    arguments = {"tokenize": "cached", "cache_dir": str(tmp_path)}
    opened(make(scored, **arguments))
    before = files_of(tmp_path)
    assert any("tokens" in str(path) for path in before)

    for policy in [*POLICIES, {"relative_margin": 0.2, "max_sample_num": 14}]:
        datamodule = opened(make(scored, **arguments, **policy))
        if "max_sample_num" not in policy:
            assert files_of(tmp_path) == before
        assert batches(datamodule)
    sampled = files_of(tmp_path)
    opened(make(scored, **arguments, max_sample_num=14))  # a policy changes no sample
    assert files_of(tmp_path) == sampled


def test_a_false_negative_is_a_known_positive_of_its_query(scored):
    datamodule = opened(make(scored, relative_margin=0.1, select_negative="teacher+"))
    known = {
        name: dict(zip(train_set.kept.tolist(), _false_ids(train_set), strict=True))
        for name, train_set in datamodule.train_sets().items()
    }

    n_false = 0
    for batch in batches(datamodule):
        for row, ids in zip(batch["row"].tolist(), batch["positive_id"].tolist(), strict=True):
            positive, false = known[batch["dataset"]][row]
            assert {i for i in ids if i} == {positive, *false}
            n_false += len(false)
    assert n_false


def _false_ids(train_set):
    """(hash of the positive, hashes of negatives above p - 0.1 * |p|) of each kept row."""
    for row in train_set.kept.tolist():
        row = train_set.rows[row]
        scores, ids = row["teacher_scores"], text_ids(row["key"]).tolist()
        bound = scores[0] - 0.1 * abs(scores[0])
        yield ids[0], [i for i, s in zip(ids[1:], scores[1:], strict=True) if s > bound]


def test_a_schedule_leaves_the_plan_as_it_is_and_counts_rows_without_negatives(scored):
    datamodule = opened(make(scored, **SCHEDULE))
    entry = datamodule.report()["train"]["qa"]

    # near = 0.0 never has a negative (6 rows), 0.9 from epoch 2 on only (6 rows)
    assert entry["dropped"] == {"no_negatives_left": 6}
    assert entry["rows_kept"] == 17
    assert entry["rows_sometimes_without_negatives"] > 0
    assert entry["rows_without_negatives"] == 0
    assert set(entry["policies"]) == {"range_max", "relative_margin"}
    assert list(entry["policies"]["relative_margin"]) == [0, 1, 2]
    text = " ".join(str(datamodule.report()).split())
    assert "6 no_negatives_left" in text
    assert "negatives left out, from epoch 2 on: " in text
    assert "rows have no negative left in some epochs and are then trained with in-batch" in text
    lengths = {len(batches(datamodule, epoch)) for epoch in range(4)}
    assert len(lengths) == 1

    masks = {epoch: [b["key_mask"] for b in batches(datamodule, epoch)] for epoch in (0, 2)}
    without = {e: sum(int((m[:, 1:] == 0).all(1).sum()) for m in masks[e]) for e in masks}
    assert without[0] > 0
    assert all(mask[:, 0].all() for mask in masks[0])
    assert {mask.shape[1] for epoch in masks for mask in masks[epoch]} == {3}


def test_in_an_epoch_of_a_schedule_batches_are_those_of_its_policy_alone(scored):
    scheduled = opened(make(scored, range_max={1: 3, 2: 1}, on_no_negatives="keep"))

    for epoch, range_max in enumerate([None, 3, 1, 1]):
        alone = opened(make(scored, range_max=range_max, on_no_negatives="keep"))
        wanted = {b["row"][0].item(): b["key_id"].tolist() for b in batches(alone, epoch)}
        if range_max == 1:  # its groups would be smaller
            assert alone.train_sets()["qa"].group_size(3) == 2
            continue
        assert {b["row"][0].item(): b["key_id"].tolist() for b in batches(scheduled, epoch)} == (
            wanted
        )


def fit(folder, ckpt_path=None, epochs=4, callbacks=(), **arguments):
    recorder, trainer = Recorder(), make_trainer(max_epochs=epochs, callbacks=list(callbacks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        trainer.fit(recorder, datamodule=make(folder, **arguments), ckpt_path=ckpt_path)
    return recorder.trained, trainer


class Saver(lightning.Callback):
    """A checkpoint after some steps."""

    def __init__(self, folder, steps):
        self.folder, self.steps = folder, steps

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_a_run_under_a_schedule_resumes_exactly(scored, tmp_path, tokenize):
    steps = (3, 8, 17)
    saver = Saver(tmp_path, steps)
    whole, _ = fit(scored, callbacks=[saver], tokenize=tokenize, **SCHEDULE)

    for n_steps in steps:
        rest, _ = fit(scored, tmp_path / f"{n_steps}.ckpt", tokenize=tokenize, **SCHEDULE)
        assert rest == dict(list(whole.items())[n_steps:])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"relative_margin": {0: 0.3, 2: 0.05}}, "[[0, 0.3], [2, 0.1]]\n  this run:   [[0, 0.3]"),
        ({"relative_margin": 0.3}, "[[0, 0.3], [2, 0.1]]\n  this run:   0.3"),
        ({"relative_margin": None}, "[[0, 0.3], [2, 0.1]]\n  this run:   'absent'"),
    ],
)
def test_a_run_with_another_policy_is_refused_by_name(scored, tmp_path, changed, sentence):
    _, trainer = fit(scored, epochs=1, **SCHEDULE)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    sentence = f"dataset qa, settings, relative_margin\n  checkpoint: {sentence}"

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        fit(scored, tmp_path / "some.ckpt", epochs=2, **SCHEDULE | changed)


def test_a_schedule_that_says_the_same_goes_on(scored, tmp_path):
    _, trainer = fit(scored, epochs=1, relative_margin=0.1)
    trainer.save_checkpoint(tmp_path / "some.ckpt")

    rest, _ = fit(scored, tmp_path / "some.ckpt", epochs=2, relative_margin={0: 0.1, 3: 0.1})

    assert {epoch for epoch, _ in rest} == {1}


def _ids_of_rank(rank, n_ranks, folder):
    datamodule = as_rank(make(Path(folder), **SCHEDULE, batch_size=4 // n_ranks), rank, n_ranks)
    opened(datamodule)
    return [
        (b["dataset"], b["row"].tolist(), b["key_id"].tolist(), _known(b))
        for b in batches(datamodule, 1)
    ]


def _known(batch):
    return [[i for i in ids if i] for ids in batch["positive_id"].tolist()]


def test_ranks_share_what_one_rank_would_train_on(scored):
    whole = _ids_of_rank(0, 1, scored)
    parts = [_ids_of_rank(rank, 2, scored) for rank in range(2)]

    for one, first, second in zip(whole, *parts, strict=True):
        assert one[0] == first[0] == second[0]
        for name in (1, 2, 3):
            assert one[name] == first[name] + second[name]


def test_a_recipe_an_argument_and_a_source_in_rising_order(scored):
    recipe = RECIPE | {"training": {"qa": {"max_score": 20.0, "range_max": 4, "range_min": 0}}}
    data = {"qa": {"path": str(scored / "qa" / "train.jsonl"), "max_score": {0: 22.0}}}

    datamodule = opened(make(scored, recipe=recipe, train_data=data, max_score=21.0, range_max=3))
    settings = datamodule.report()["train"]["qa"]["settings"]

    assert (settings["max_score"], settings["range_max"], settings["range_min"]) == (22.0, 3, 0)
    assert datamodule.task_settings("qa").max_score == 21.0
    assert datamodule.task_settings("qa").range_max == 3


def test_a_policy_of_the_recipe_is_heard_only_with_its_other_settings(scored):
    recipe = RECIPE | {"training": {"*": {"relative_margin": {0: 0.2, 1: 0.1}}}}

    heard = opened(make(scored, recipe=recipe)).train_sets()["qa"]
    unheard = opened(make(scored, recipe=recipe, use_train_config=False)).train_sets()["qa"]

    assert heard.policies.first_epochs == (0, 1)
    assert unheard.policies is None


def test_a_limit_on_scores_without_scores_is_an_error_by_argument_and_a_note_by_recipe(folder):
    data = {"tool": str(folder / "tool" / "train.jsonl")}
    sentence = "no teacher_scores, which min_score=1.0 needs for task 'tool'"
    with pytest.raises(DataError, match=re.escape(sentence)):
        opened(make_datamodule(folder, train_data=data, min_score=1.0))

    recipe = RECIPE | {"training": {"tool": {"min_score": 1.0}}}
    datamodule = make_datamodule(folder, train_data=data, recipe=recipe)
    with pytest.warns(UserWarning, match=re.escape("the recipe's min_score=1.0 for task 'tool'")):
        datamodule.setup("fit")
    plain = opened(make_datamodule(folder, train_data=data))
    assert [digest(b) for b in batches(datamodule)] == [digest(b) for b in batches(plain)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"range_min": 0.5}, "data.range_min=0.5: expected a whole number of at least 0, or such"),
        ({"max_score": "1"}, "data.max_score='1': expected a finite number, or such numbers by"),
        ({"relative_margin": {"0": 1}}, "data.relative_margin={'0': 1}: expected a finite number"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(arguments, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        RetrievalDataModule(make_tokenizer(), **arguments)


def test_settings_are_recorded_as_they_were_given(scored, tmp_path):
    _, trainer = fit(scored, epochs=1, tokenizer=make_tokenizer(), **SCHEDULE)
    trainer.save_checkpoint(tmp_path / "some.ckpt")

    loaded = RetrievalDataModule.load_from_checkpoint(
        tmp_path / "some.ckpt", tokenizer=make_tokenizer()
    )

    assert dict(loaded.hparams)["relative_margin"] == SCHEDULE["relative_margin"]
