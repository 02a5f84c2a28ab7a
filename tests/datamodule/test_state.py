"""A checkpoint's state is checked as a stranger's file is; settings, and what a module shows."""

import copy
import inspect
import json
import pickle
from pathlib import Path

import lightning
import pytest
import torch
import yaml
from datamodule_cases import (
    STEPS,
    Recorder,
    make_datamodule,
    make_tokenizer,
    make_trainer,
    opened,
)
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger

from llm_embedder_data import ConfigError, RetrievalDataModule
from llm_embedder_data.datamodule.resume.run_fingerprint import TokenizerFingerprint


class SaveAt(lightning.Callback):
    def __init__(self, path, n_steps):
        self.path, self.n_steps = path, n_steps

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.n_steps:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, *_):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path.with_name("epoch.ckpt"))


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    """A checkpoint behind step 3 of epoch 1, and what its run was given from there on."""
    path = tmp_path_factory.mktemp("saved") / "14.ckpt"
    recorder, datamodule = Recorder(), make_datamodule(folder)
    make_trainer(callbacks=[SaveAt(path, 14)]).fit(recorder, datamodule=datamodule)
    return path, list(recorder.trained.values())


def resumed(folder, path, **data):
    recorder = Recorder()
    make_trainer().fit(recorder, datamodule=make_datamodule(folder, **data), ckpt_path=path)
    return list(recorder.trained.values())


def with_state(saved, path, state):
    checkpoint = torch.load(saved[0], weights_only=True)
    if state is not Ellipsis:
        checkpoint["RetrievalDataModule"] = state
    else:
        del checkpoint["RetrievalDataModule"]
    torch.save(checkpoint, path)
    return path


def places(value, above=()):
    """Where each value of a state lies."""
    yield above
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*above, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*above, number))


def replaced(state, place, value):
    if not place:
        return value
    state = copy.deepcopy(state)
    inner = state
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return state


DEEP = []
for _ in range(500):
    DEEP = [DEEP]
HOSTILE = st.one_of(
    st.sampled_from([-1, 10**12, 2**70, 10**400, True, 1.0, -0.5, float("nan"), float("inf")]),
    st.sampled_from(["", "7", "\x1b[2J", b"x", [], [1], {"a": 1}, {1: 2}, (0,), DEEP]),
    st.integers(-5, 40),
)


@tried(300)
@given(data=st.data())
def test_a_state_with_any_value_replaced_is_refused_or_the_same(folder, saved, data):
    state = torch.load(saved[0], weights_only=True)["RetrievalDataModule"]
    place = data.draw(st.sampled_from(list(places(state))))
    changed = replaced(state, place, data.draw(HOSTILE))
    datamodule, refused = _opened_once(folder), None

    try:
        datamodule.load_state_dict(changed)
        loader = datamodule.train_dataloader()
    except ConfigError as error:
        refused = error
    finally:
        datamodule.teardown()

    if refused is not None:
        assert "\x1b" not in str(refused)
        assert len(str(refused)) < 5000
        assert str(pickle.loads(pickle.dumps(refused))) == str(refused)
    elif changed:  # an empty state is a matter of the trainer's counts
        assert changed == state
        assert loader.sampler.place == (1, 3)


_OPENED = {}


def _opened_once(folder):
    if folder not in _OPENED:
        _OPENED[folder] = opened(make_datamodule(folder))
    return _OPENED[folder]


@pytest.mark.parametrize("place", [("epoch",), ("step",), ("trained",), ("facts",), ("version",)])
def test_a_state_without_an_entry_is_refused_by_its_name(folder, saved, tmp_path, place):
    state = torch.load(saved[0], weights_only=True)["RetrievalDataModule"]
    del state[place[0]]

    with pytest.raises(ConfigError, match=f"it has no '{place[0]}'"):
        resumed(folder, with_state(saved, tmp_path / "changed.ckpt", state))


@pytest.mark.parametrize("state", [None, {}, ...])
def test_a_checkpoint_without_a_state_is_refused_inside_an_epoch(folder, saved, tmp_path, state):
    path = with_state(saved, tmp_path / "stripped.ckpt", state)

    with pytest.raises(ConfigError, match="inside epoch 1, after 3 of its steps"):
        resumed(folder, path)


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_checkpoint_without_a_state_goes_on_with_the_next_epoch(
    folder, saved, tmp_path, scheduled
):
    checkpoint = torch.load(saved[0].with_name("epoch.ckpt"), weights_only=True)
    del checkpoint["RetrievalDataModule"]
    if scheduled:
        checkpoint["lr_schedulers"] = [Recorder_schedule()]
    torch.save(checkpoint, tmp_path / "epoch.ckpt")

    recorder = Recorder(scheduled)
    make_trainer().fit(
        recorder, datamodule=make_datamodule(folder), ckpt_path=tmp_path / "epoch.ckpt"
    )

    assert list(recorder.trained.values()) == saved[1][STEPS:]


def Recorder_schedule():
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1e-3)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0).state_dict()


def test_a_checkpoint_of_a_plain_loader_is_refused_inside_an_epoch(folder, tmp_path):
    class Plain(Recorder):
        def training_step(self, batch, batch_idx):
            return self.layer(torch.ones(1, 1)).sum()

    path = tmp_path / "plain.ckpt"
    loader = torch.utils.data.DataLoader(range(40), batch_size=4)
    make_trainer(callbacks=[SaveAt(path, 3)]).fit(Plain(), loader)

    with pytest.raises(ConfigError, match="has no state of this data module"):
        resumed(folder, path)


def test_a_state_without_the_trainer_s_loops_is_refused(folder, saved, tmp_path):
    checkpoint = torch.load(saved[0], weights_only=True)
    del checkpoint["loops"]
    torch.save(checkpoint, tmp_path / "no loops.ckpt")

    with pytest.raises(ConfigError, match="after 14 batches; but the trainer has trained on 0"):
        resumed(folder, tmp_path / "no loops.ckpt")


def test_a_state_of_version_1_is_held_against_the_trainer_s_counts(folder, saved, tmp_path):
    state = json.loads((Path(__file__).parent / "state_version_1.json").read_text())
    for change in ({"epoch": 0}, {"step": 4}, {"epoch": 3}, {"step": 2}):
        path = with_state(saved, tmp_path / "1.ckpt", state | change)
        with pytest.raises(ConfigError, match="the trainer has trained on 14"):
            resumed(folder, path)


def test_another_layout_goes_on_with_a_note_and_another_tokenizer_does_not(folder, saved):
    other = {"layout": "chunked", "pad_to_multiple_of": 4, "num_workers": 1}
    with pytest.warns(UserWarning, match=r"data\.layout 'chunked', not 'padded'") as said:
        again = resumed(folder, saved[0], **other, tokenizer=make_tokenizer(padding_side="left"))
    [note] = {str(one.message) for one in said if "another way" in str(one.message)}
    assert all(word in note for word in ("num_workers 1", "multiple_of 4", "padding_side 'left'"))
    assert [seen[:2] for seen in again] == [seen[:2] for seen in saved[1][14:]]

    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["qa"])
    with pytest.raises(ConfigError, match=r"tokenizer\n  checkpoint: '\w{32}'\n  this run:"):
        resumed(folder, saved[0], tokenizer=tokenizer)


def test_the_padding_side_is_recorded_beside_the_tokenizer_s_digest():
    left, right = (
        TokenizerFingerprint.of(make_tokenizer(padding_side=side)) for side in ("left", "right")
    )

    assert left.tokenizer == right.tokenizer
    assert (left.padding_side, right.padding_side) == ("left", "right")


# -- settings --------------------------------------------------------------------------------------

SETTINGS = [
    name
    for name in inspect.signature(RetrievalDataModule).parameters
    if name not in ("batch_size", "eval_batch_size")
]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_cannot_be_changed_on_a_module(folder, name):
    datamodule = make_datamodule(folder)

    with pytest.raises(ConfigError, match=rf"data\.{name} of a data module cannot be changed"):
        setattr(datamodule, name, 7)
    with pytest.raises(AttributeError):
        setattr(datamodule, name, 7)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
@pytest.mark.parametrize("size", [0, -1, True, 2.0, "4", None])
def test_a_size_that_is_set_is_checked(folder, name, size):
    with pytest.raises(ConfigError, match=rf"data\.{name}=.*whole number of at least 1"):
        setattr(make_datamodule(folder), name, size)


def test_a_batch_size_that_is_set_is_told_everywhere(folder):
    datamodule = opened(make_datamodule(folder))
    datamodule.batch_size = 2

    assert set(datamodule.plan().batch_size.values()) == {2}
    assert datamodule.report()["train"]["qa"]["global_batch"] == 2
    assert datamodule.hparams["batch_size"] == 2
    assert "batch_size=2" in repr(datamodule)
    assert "in batches of 2" in str(datamodule)


class Named(Recorder):
    """Has settings of its own by the names of the data module's."""

    def __init__(self, seed=7, batch_size=4, recipe="mine", temperature=0.1):
        super().__init__()
        self.save_hyperparameters()


def test_loggers_record_the_settings_beside_the_model_s(folder, tmp_path):
    logger = CSVLogger(tmp_path)
    trainer = make_trainer(max_steps=2, logger=logger, enable_checkpointing=True)
    datamodule = make_datamodule(folder)

    trainer.fit(Named(), datamodule=datamodule)

    file = tmp_path / "lightning_logs/version_0/hparams.yaml"
    written = yaml.safe_load(file.read_text())
    assert (written["seed"], written["data.seed"], written["train_group_size"]) == (7, 5, 3)
    assert written["batch_size"] == 4  # the same on both sides
    assert written["tokenizer"].startswith("<in memory: ")
    [path] = tmp_path.rglob("*.ckpt")
    kept = torch.load(path, weights_only=True)["datamodule_hyper_parameters"]
    assert kept["seed"] == 5
    assert json.loads(json.dumps(kept)) == kept


def test_a_module_is_made_of_a_checkpoint_without_its_position(folder, saved):
    with pytest.raises(ConfigError, match=r"data\.tokenizer='<in memory: .*pass tokenizer again"):
        RetrievalDataModule.load_from_checkpoint(saved[0])

    datamodule = RetrievalDataModule.load_from_checkpoint(saved[0], tokenizer=make_tokenizer())
    recorder = Recorder()
    make_trainer().fit(recorder, datamodule=datamodule)

    assert list(recorder.trained.values()) == saved[1]


def test_a_module_and_its_loaders_say_what_they_hold(folder):
    datamodule = make_datamodule(folder)
    assert "train: 'qa', 'tool', 'chat' (not set up)" in str(datamodule)
    assert repr(datamodule).startswith("RetrievalDataModule(tokenizer='<in memory: ")

    opened(datamodule)

    assert "train: 'qa' 23 rows in batches of 4, 'tool' 18 rows in batches of 4" in str(datamodule)
    assert "11 steps an epoch on 1 rank, seed 5" in str(datamodule)
    assert "'chat' (8 rows)" in repr(datamodule.train_dataloader())
    datamodule.batch_size = 100
    assert "no plan: dataset 'qa' has 23 rows" in str(datamodule)
    for empty in (None, [], {}, "no such file", [3], {"a": None}, object()):
        for text in (str, repr):
            assert text(RetrievalDataModule("no such tokenizer", empty))


def test_a_report_shows_itself_in_a_notebook_escaped(folder):
    report = opened(make_datamodule(folder)).report()
    report["train"]["<b>\x1b"] = report["train"].pop("qa") | {"notes": ["a < b"]}

    shown = report._repr_html_()

    assert ">&lt;b&gt;\\x1b<" in shown
    assert "a &lt; b" in shown
    assert ">18<" in shown
    assert "\x1b" not in shown
