"""A past run's batches, made again from its checkpoint, are those that it trained on."""

import json
import warnings

import lightning
import pytest
import torch
from datamodule_cases import Recorder, make_datamodule, make_tokenizer, make_trainer, opened

from llm_embedder_data import ConfigError
from llm_embedder_data.datamodule.past_runs import data_of, plan_of_step, read_run, world_size_of
from llm_embedder_data.datamodule.resume.checkpoint_state import make_state
from llm_embedder_data.datamodule.run_differences import run_differences


class Stop(lightning.Callback):
    """Ends a run by an exception after some steps, and saves a checkpoint as it goes."""

    def __init__(self, path, after):
        self.path, self.left = path, after

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)
            raise KeyError("interrupted")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The folder of a tokenizer: one that lies in memory is in no checkpoint."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def trained(folder, path, after, *, ckpt_path=None, **settings):
    """{(epoch, step): (dataset, rows)} of a run that is interrupted."""
    recorder = Recorder()
    trainer = make_trainer(callbacks=[Stop(path, after)])
    data = make_datamodule(folder, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyError):
            trainer.fit(recorder, datamodule=data, ckpt_path=ckpt_path)
    return {at: (dataset, rows) for at, (dataset, rows, _) in recorder.trained.items()}


@pytest.fixture(scope="module")
def past(folder, tokenizer, tmp_path_factory):
    """A run of 14 steps: what it trained on, and its checkpoint, inside epoch 1."""
    path = tmp_path_factory.mktemp("past") / "14.ckpt"
    return trained(folder, path, 14, tokenizer=tokenizer), str(path)


@pytest.fixture(scope="module")
def elastic(folder, tokenizer, past, tmp_path_factory):
    """Epoch 1 goes on with global batches of 8 for 2 steps, then of 2 for 3."""
    paths = [str(tmp_path_factory.mktemp("elastic") / f"{number}.ckpt") for number in (1, 2)]
    settings = {"tokenizer": tokenizer, "on_other_global_batch": "continue"}
    second = trained(folder, paths[0], 2, ckpt_path=past[1], batch_size=8, **settings)
    third = trained(folder, paths[1], 3, ckpt_path=paths[0], batch_size=2, **settings)
    return [past[0], second, third], paths[1]


def shown(run, data, epoch, step, **more):
    planned = plan_of_step(run, data, epoch, step, **more)
    batch = data.show(step, rank=None, plan=planned.plan, notes=planned.notes)
    return batch["dataset"], tuple(query["row"] for query in batch["queries"])


def test_every_step_is_shown_as_it_was_trained_on(past):
    steps, path = past
    run = read_run(path)
    data = data_of(run)

    assert len(steps) == 14
    for (epoch, step), batch in steps.items():
        assert shown(run, data, epoch, step) == batch


def test_every_step_of_an_epoch_that_went_on_with_other_global_batches(elastic):
    runs, path = elastic
    run = read_run(path)
    data = data_of(run)

    for number, steps in enumerate(runs):
        for (epoch, step), batch in steps.items():
            which = {"number": number} if epoch == 1 else {}
            assert shown(run, data, epoch, step, **which) == batch, (number, epoch, step)
    assert sum(epoch == 1 for steps in runs for epoch, _ in steps) == 3 + 2 + 3


def test_a_step_that_two_runs_have_is_not_guessed(elastic):
    runs, path = elastic
    run = read_run(path)
    data = data_of(run)
    both = {step for epoch, step in runs[0] if epoch == 1} & {step for _, step in runs[1]}
    step = min(both)

    with pytest.raises(ConfigError, match=r"run 0: steps 0 to 2; run 1: .* choose one with run="):
        plan_of_step(run, data, 1, step)
    with pytest.raises(ConfigError, match=r"step=99: no such step in epoch 1 \(run 0: steps 0"):
        plan_of_step(run, data, 1, 99)
    with pytest.raises(ConfigError, match=r"run=1: one run trained on epoch 2, run 0"):
        plan_of_step(run, data, 2, 0, number=1)


def test_the_ranks_of_an_earlier_run_may_be_given(elastic):
    runs, path = elastic
    run = read_run(path)
    data = data_of(run)
    (dataset, rows) = runs[0][1, 0]

    planned = plan_of_step(run, data, 1, 0, number=0, world_size=2)

    assert planned.plan.num_replicas == 2
    batch = data.show(0, rank=1, plan=planned.plan)
    assert tuple(query["row"] for query in batch["queries"]) == rows[2:]
    assert batch["dataset"] == dataset
    with pytest.raises(ConfigError, match=r"world_size=3: does not divide the global batches"):
        plan_of_step(run, data, 1, 0, number=0, world_size=3)


def test_a_batch_that_is_still_to_come_says_so(past):
    run = read_run(past[1])
    data = data_of(run)

    assert plan_of_step(run, data, 1, 2).notes == []
    [note] = plan_of_step(run, data, 1, 3).notes
    assert note.startswith("the checkpoint is at epoch 1, step 3: this batch comes later")


def test_an_epoch_whose_global_batches_are_forgotten_says_so(folder, tokenizer, past, tmp_path):
    """The run goes on to the end of epoch 1, and into epoch 2, with global batches of 8."""
    path = str(tmp_path / "later.ckpt")
    settings = {"tokenizer": tokenizer, "on_other_global_batch": "continue", "batch_size": 8}
    steps = trained(folder, path, 5, ckpt_path=past[1], **settings)
    run = read_run(path)
    data = data_of(run)

    assert run.position[0] == 2
    assert (
        "a checkpoint from within that epoch would tell" in plan_of_step(run, data, 1, 0).notes[0]
    )
    assert plan_of_step(run, data, 2, 0).notes == []
    assert shown(run, data, 2, 0) == steps[2, 0]


def save(path, datamodule, world_size, **more):
    """A checkpoint of a run on several ranks."""
    state = make_state((0, 1), 1, datamodule.fingerprint(world_size))
    settings = dict(datamodule.hparams)
    content = {"RetrievalDataModule": state, "datamodule_hyper_parameters": settings}
    torch.save({"state_dict": {}, **content, **more}, path)
    return str(path)


def test_the_number_of_ranks_comes_from_the_checkpoint(folder, tokenizer, tmp_path):
    data = opened(make_datamodule(folder, tokenizer=tokenizer, batch_size=2))
    run = read_run(save(tmp_path / "2.ckpt", data, 2))

    again = data_of(run)

    assert world_size_of(run, again) == 2
    plan = plan_of_step(run, again, 0, 0).plan
    assert (plan.num_replicas, plan.batch_size["qa"]) == (2, 2)


def test_other_data_on_disk_is_refused_in_one_sentence(folder, tokenizer, tmp_path):
    data = {"qa": str(tmp_path / "qa" / "train.jsonl")}
    (tmp_path / "qa").mkdir()
    rows = (folder / "qa" / "train.jsonl").read_text()
    (tmp_path / "qa" / "train.jsonl").write_text(rows)
    cache = str(tmp_path / "cache")
    module = make_datamodule(folder, tokenizer=tokenizer, train_data=data, cache_dir=cache)
    run = read_run(save(tmp_path / "a.ckpt", opened(module), 1))
    first = shown(run, data_of(run), 0, 2)

    (tmp_path / "moved.jsonl").write_text(rows)
    moved = data_of(run, train_data={"qa": str(tmp_path / "moved.jsonl")})
    assert shown(run, moved, 0, 2) == first

    lines = rows.splitlines()
    changed = [*lines[:-1], json.dumps({**json.loads(lines[-1]), "query": "changed"})]
    (tmp_path / "qa" / "train.jsonl").write_text("\n".join(changed) + "\n")
    with pytest.raises(ConfigError, match=r"dataset qa, files: .* then, .* now") as refused:
        data_of(run)
    assert "\n" not in str(refused.value)


def test_another_tokenizer_is_refused_in_one_sentence(past, minilm):
    with pytest.raises(ConfigError, match=r"tokenizer: .* then, .* now") as refused:
        data_of(read_run(past[1]), tokenizer=minilm)
    assert "\n" not in str(refused.value)


def test_a_layout_may_be_another(past):
    steps, path = past
    run = read_run(path)

    assert shown(run, data_of(run, layout="packed"), 1, 1) == steps[1, 1]


def test_a_file_that_tells_of_no_run_is_refused(tmp_path, past):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")

    for name, sentence in (
        ("missing.ckpt", "there is no such file"),
        ("text.ckpt", "cannot be read"),
        ("other.ckpt", "has no state of RetrievalDataModule"),
    ):
        with pytest.raises(ConfigError, match=sentence) as refused:
            read_run(str(tmp_path / name))
        assert "\n" not in str(refused.value)


def test_a_changed_state_is_refused(past, tmp_path):
    content = torch.load(past[1], weights_only=True)
    content["RetrievalDataModule"]["step"] = 1
    torch.save(content, tmp_path / "changed.ckpt")

    with pytest.raises(ConfigError, match="was changed after it was written"):
        read_run(str(tmp_path / "changed.ckpt"))


def test_two_runs_differ_in_what_was_given_otherwise(folder, tokenizer, past, tmp_path):
    trained(
        folder, tmp_path / "b.ckpt", 2, tokenizer=tokenizer, seed=6, batch_size=2, layout="packed"
    )

    found = run_differences(read_run(past[1]), read_run(str(tmp_path / "b.ckpt")))

    meaning = {one["name"]: one["meaning"] for one in found["facts"]}
    assert "neither run can resume the other" in meaning["seed"]
    assert "on_other_global_batch" in meaning["dataset qa, global batch"]
    assert "the same rows" in meaning["layout"]
    assert {(one["name"], one["a"], one["b"]) for one in found["settings"]} == {
        ("seed", 5, 6),
        ("batch_size", 4, 2),
        ("layout", "padded", "packed"),
    }
    assert {one["name"]: (one["a"], one["b"]) for one in found["position"]} == {
        "epoch of the next batch": (1, 0),
        "step of the next batch": (3, 2),
        "batches trained on": (14, 2),
    }
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    for said in (str(found), found._repr_html_()):
        assert "batches trained on" in said
        assert "14" in said


def test_a_run_does_not_differ_from_itself(past):
    found = run_differences(read_run(past[1]), read_run(past[1]))

    assert not any(found[kind] for kind in ("facts", "settings", "model_settings", "position"))
    assert str(found).count("no difference") == 4
