"""A run that was interrupted anywhere goes on as if it had not been."""

import json
import re
import warnings
from contextlib import suppress
from pathlib import Path

import lightning
import pytest
import torch
from datamodule_cases import (
    RECIPE,
    STEPS,
    TRAIN,
    Recorder,
    eval_arguments,
    examples,
    make_datamodule,
    make_trainer,
    write_train,
)
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from processes import returned, run_on_ranks
from slow_cases import mostly_slow

from llm_embedder_data import ConfigError

EPOCHS = 3


class Saver(lightning.Callback):
    """A checkpoint at the end of every step, every validation and every epoch."""

    def __init__(self, folder):
        self.folder, self.n_saved = folder, 0

    def save(self, trainer, where):
        if not trainer.sanity_checking:
            n_trained = len(trainer.lightning_module.trained)
            name = f"{self.n_saved:03} after {n_trained} steps, {where} end.ckpt"
            trainer.save_checkpoint(self.folder / name)
            self.n_saved += 1

    def on_train_batch_end(self, trainer, *_):
        self.save(trainer, "step")

    def on_validation_end(self, trainer, *_):
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_):
        self.save(trainer, "epoch")


class LateStrategy(SingleDeviceStrategy):
    """Restores after its setup, as FSDP and DeepSpeed do."""

    restore_checkpoint_after_setup = True

    def __init__(self):
        super().__init__(accelerator=CPUAccelerator(), device="cpu")


def run(folder, data, trainer, *, scheduled=False, callbacks=(), ckpt_path=None):
    """What every step was given, the last global_step, and the lengths of the loaders."""
    recorder = Recorder(scheduled)
    trainer = make_trainer(**({"max_epochs": EPOCHS} | trainer), callbacks=list(callbacks))
    datamodule = make_datamodule(folder, **data)
    trainer.fit(recorder, datamodule=datamodule, ckpt_path=ckpt_path)
    return recorder.trained, trainer.global_step, set(recorder.loader_lengths)


def n_trained(checkpoint):
    """How many steps were trained before a checkpoint of ``Saver``."""
    return int(re.search(r"after (\d+)", checkpoint.name)[1])


def resume_everywhere(folder, checkpoints, data=None, trainer=None, scheduled=False, at=None):
    """(steps of the whole run, resumes): from each checkpoint, and each was exact.

    ``at``: the steps of an epoch, from 0 on, that begin a resume; None for all.
    """
    data, trainer = data or {}, trainer or {}
    whole, n_steps, lengths = run(
        folder, data, trainer, scheduled=scheduled, callbacks=[Saver(checkpoints)]
    )
    paths = sorted(checkpoints.glob("*.ckpt"))
    paths = [path for path in paths if at is None or n_trained(path) % STEPS in at]
    for path in paths:
        left = dict(list(whole.items())[n_trained(path) :])
        resumed = run(folder, data, trainer, scheduled=scheduled, ckpt_path=path)
        if left:
            assert resumed == (left, n_steps, lengths), path.name
        else:
            assert resumed[:2] == ({}, n_steps), path.name
    return len(whole), len(paths)


ORDERS = ("epoch", "epoch-static", "epoch-random", "random")
CASES = {
    "plain": {},
    "scheduled": {"scheduled": True},
    "accumulating": {"trainer": {"accumulate_grad_batches": 3}},
    "accumulating, scheduled": {"trainer": {"accumulate_grad_batches": 3}, "scheduled": True},
    "validating inside": {"trainer": {"val_check_interval": 4}},
    "validating inside, scheduled": {"trainer": {"val_check_interval": 0.3}, "scheduled": True},
    "limited": {"trainer": {"limit_train_batches": 7}},
    "limited to a share, scheduled": {"trainer": {"limit_train_batches": 0.5}, "scheduled": True},
    "reloading": {"trainer": {"reload_dataloaders_every_n_epochs": 1}},
    "reloading, scheduled": {
        "trainer": {"reload_dataloaders_every_n_epochs": 1},
        "scheduled": True,
    },
    "restored late": {"trainer": {"strategy": LateStrategy}},
    "restored late, scheduled": {"trainer": {"strategy": LateStrategy}, "scheduled": True},
    "max_steps": {"trainer": {"max_steps": 27, "max_epochs": -1}},
    **{order: {"data": {"organize_method": order}} for order in ORDERS[1:]},
    "dealt by length": {"data": {"length_window": 2}},
    "texts kept apart": {"data": {"no_duplicates": True}},
    "shuffled in windows": {"data": {"shuffle_window": 16}},
}


def resume_case(folder, checkpoints, case, at=None):
    trainer = dict(case.get("trainer", {}))
    if trainer.get("strategy") is LateStrategy:
        trainer |= {"strategy": trainer["strategy"](), "accelerator": "auto"}
    data = dict(case.get("data", {}))
    if "val_check_interval" in trainer:
        data |= eval_arguments(folder)
    return resume_everywhere(folder, checkpoints, data, trainer, case.get("scheduled", False), at)


@pytest.mark.parametrize("case", ["scheduled", "validating inside", "restored late"])
def test_resume_is_exact_from_the_ends_of_epochs_and_places_inside(folder, tmp_path, case):
    """From each checkpoint at an end: of the step, of the validation there and of the epoch."""
    settings = CASES[case] | {"trainer": {"max_epochs": 2} | CASES[case].get("trainer", {})}

    _, n_resumes = resume_case(folder, tmp_path, settings, at=(0, 1, 4))

    assert n_resumes >= 4 * 2


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_resume_is_exact_from_every_checkpoint(folder, tmp_path, case, epochs):
    trainer = {"max_epochs": epochs} | CASES[case].get("trainer", {})

    _, n_resumes = resume_case(folder, tmp_path, CASES[case] | {"trainer": trainer})

    assert n_resumes >= 6 * epochs


@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "scheduled", "restored late, scheduled"])
def test_resume_is_exact_with_persistent_workers(folder, tmp_path, case):
    settings = CASES[case] | {"data": {"num_workers": 2, "prefetch_factor": 3}}

    _, n_resumes = resume_case(folder, tmp_path, settings)

    assert n_resumes >= EPOCHS * (STEPS + 1)


RANK_CASES = {
    "plain": {},
    "scheduled": {"scheduled": True},
    "accumulating, validating inside": {
        "trainer": {"accumulate_grad_batches": 3, "val_check_interval": 4}
    },
    "own sampling": {"trainer": {"use_distributed_sampler": False}},
    "workers, scheduled": {"scheduled": True, "data": {"num_workers": 2}},
}


def resume_on_rank(rank, folder, checkpoints, case):
    trainer = case.get("trainer", {}) | {"devices": 2, "strategy": "ddp"}
    data = case.get("data", {}) | {"batch_size": 2}
    return resume_case(folder, checkpoints, case | {"trainer": trainer, "data": data})


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize("case", RANK_CASES)
def test_resume_is_exact_on_two_ranks(folder, tmp_path, case):
    counts = returned(run_on_ranks(resume_on_rank, 2, tmp_path, folder, tmp_path, RANK_CASES[case]))

    assert counts[0] == counts[1]
    assert counts[0][1] >= EPOCHS * (STEPS + 1)


@pytest.fixture(scope="module")
def uninterrupted(folder):
    """What :func:`run` gives with settings of the data, from the first step on; made once."""
    made = {}

    def of(**data):
        if repr(data) not in made:
            made[repr(data)] = run(folder, data, {})
        return made[repr(data)]

    return of


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    """{steps trained: checkpoint at the end of the last of them}, of a run of three epochs."""
    checkpoints = tmp_path_factory.mktemp("saved")
    run(folder, {}, {}, callbacks=[Saver(checkpoints)])
    return {n_trained(path): path for path in checkpoints.glob("*step end.ckpt")}


@pytest.fixture(scope="module")
def checkpoint(saved):
    """Of a run of 14 steps."""
    return saved[14]


class Interruption(lightning.Callback):
    """Ends a run by an exception, and saves a checkpoint as it goes."""

    def __init__(self, path, after, inside_a_step=False):
        self.path, self.left, self.inside = path, after, inside_a_step

    def on_train_batch_start(self, *_):
        if self.inside and self.left == 0:
            raise KeyError("interrupted")

    def on_train_batch_end(self, trainer, *_):
        self.left -= 1
        if self.left == 0 and not self.inside:
            trainer.save_checkpoint(self.path)
            raise KeyError("interrupted")

    def on_exception(self, trainer, *_):
        if self.inside:
            trainer.save_checkpoint(self.path)


# 11 and 22 steps end with an epoch; there Lightning 2.6.6 itself would count an epoch too few.
CHAINS = [(4, 3, 2), (2, 8, 12), (1, 1, 1), (10, 13, 5), (11, 1, 15), (2, 9, 1), (22, 3, 4)]
CHAINS += [(11, 11, 5)]


@pytest.mark.parametrize("inside_a_step", [False, True])
@pytest.mark.parametrize("lengths", mostly_slow(CHAINS, (4, 3, 2), (10, 13, 5), (11, 11, 5)))
def test_a_chain_of_three_interruptions_is_exact(
    folder, uninterrupted, tmp_path, lengths, inside_a_step
):
    whole, n_steps, _ = uninterrupted()
    trained, path = {}, None

    for number, length in enumerate(lengths):
        before, path = path, tmp_path / f"{number}.ckpt"
        datamodule, recorder = make_datamodule(folder), Recorder()
        trainer = make_trainer(callbacks=[Interruption(path, length, inside_a_step)])
        with pytest.raises(KeyError, match="interrupted"):
            trainer.fit(recorder, datamodule=datamodule, ckpt_path=before)
        assert len(recorder.trained) == length
        trained |= recorder.trained
    resumed, resumed_steps, _ = run(folder, {}, {}, ckpt_path=path)

    assert {**trained, **resumed} == whole
    assert resumed_steps == n_steps


class Validations(lightning.Callback):
    """How many steps were trained before each."""

    def __init__(self):
        self.after = []

    def on_validation_start(self, trainer, module):
        self.after.append(len(module.trained))


LONGER = {
    "plain": {},
    "limited": {"limit_train_batches": 7},
    "accumulating": {"accumulate_grad_batches": 3},
    "validating inside": {"val_check_interval": 4},
}


def lengthened(folder, checkpoints, saved, settings, data=None):
    """A run of many optimizer steps at once; and in three, each going on with the last one's end.

    ``saved``: whether that is a checkpoint of the last step, or of the end of the epoch that was
    cut off, which Lightning took for a whole one.
    """
    # Each stop lies inside an epoch, and a run that accumulates has 4 optimizer steps in one.
    stops = [7, 14, 19] if "accumulate_grad_batches" in settings else [15, 26, 40]
    runs = []
    for max_steps in (stops[-1:], stops):
        trained, validated, positions, path = [], [], {}, None
        for number, n_steps in enumerate(max_steps):
            out = checkpoints / f"{len(runs)} {number}"
            out.mkdir(parents=True, exist_ok=True)
            validations = Validations()
            steps, last, _ = run(
                folder,
                data or {},
                settings | {"max_steps": n_steps, "max_epochs": -1},
                callbacks=[Saver(out), validations],
                ckpt_path=path,
            )
            assert last == n_steps
            for file in out.glob("*.ckpt"):
                state = torch.load(file, weights_only=True)["RetrievalDataModule"]
                n_before = len(trained) + n_trained(file)
                positions.setdefault(n_before, set()).add((state["epoch"], state["step"]))
            validated += [len(trained) + after for after in validations.after]
            trained += steps.values()
            path = max(out.glob(f"* {saved} end.ckpt"))
        runs.append((trained, validated, positions))
    return runs


def assert_as_at_once(runs, n_in_an_epoch):
    whole, parts = runs
    assert parts[0] == whole[0]
    assert parts[1] == whole[1] != []
    for trained, _, positions in runs:
        assert positions == {n: {divmod(n, n_in_an_epoch)} for n in range(1, len(trained) + 1)}


@pytest.mark.parametrize("saved", ["step", "epoch"])
@pytest.mark.parametrize("case", mostly_slow(LONGER, "accumulating"))
def test_a_longer_run_goes_on_where_a_shorter_one_stopped_inside_an_epoch(
    folder, tmp_path, case, saved
):
    """Batches, validations and the position in every checkpoint, through two continuations."""
    runs = lengthened(folder, tmp_path, saved, LONGER[case], eval_arguments(folder))

    assert_as_at_once(runs, LONGER[case].get("limit_train_batches", STEPS))


def lengthened_on_rank(rank, folder, checkpoints, saved, settings):
    data = eval_arguments(folder) | {"batch_size": 2}
    return lengthened(
        folder, checkpoints, saved, settings | {"devices": 2, "strategy": "ddp"}, data
    )


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("case", "saved"),
    [
        pytest.param("plain", "epoch", marks=pytest.mark.slow),
        pytest.param("limited", "epoch", marks=pytest.mark.slow),
        pytest.param("accumulating", "step", marks=pytest.mark.slow),
    ],
)
def test_a_longer_run_goes_on_inside_an_epoch_on_two_ranks(folder, tmp_path, case, saved):
    args = (lengthened_on_rank, 2, tmp_path, folder, tmp_path, saved, LONGER[case])

    for runs in returned(run_on_ranks(*args)):
        assert_as_at_once(runs, LONGER[case].get("limit_train_batches", STEPS))


class Examples(Recorder):
    """Keeps each row's tokens and keys, which do not depend on the rows beside it."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        at = self.current_epoch, batch_idx
        self.trained[at] = [(batch["dataset"], *one) for one in examples(batch).items()]
        return loss


def examples_of_run(rank, n_ranks, folder, ckpt_path=None, save=None, data=None):
    """Of every step, from a checkpoint on, or until one is saved after 14 steps."""
    recorder, callbacks = Examples(), [] if save is None else [Interruption(save, 14)]
    ranks = {"devices": n_ranks, "strategy": "ddp"} if n_ranks > 1 else {}
    datamodule = make_datamodule(folder, **({"batch_size": 4 // n_ranks} | (data or {})))
    trainer = make_trainer(**ranks, callbacks=callbacks)
    with suppress(KeyError):
        trainer.fit(recorder, datamodule=datamodule, ckpt_path=ckpt_path)
    return recorder.trained, trainer.global_step


def on_two_ranks(tmp_path, folder, *args):
    """What :func:`examples_of_run` gives, the ranks' shares put together in their order."""
    (first, n_steps), (second, others) = returned(
        run_on_ranks(examples_of_run, 2, tmp_path, 2, folder, *args)
    )
    assert list(first) == list(second)
    assert n_steps == others
    return {at: first[at] + second[at] for at in first}, n_steps


@pytest.mark.ranks
def test_a_run_moves_between_one_rank_and_two(folder, tmp_path):
    """The same rows with the same positives and negatives, at the same global batch."""
    whole, n_steps = examples_of_run(0, 1, folder)
    alone, both = tmp_path / "alone.ckpt", tmp_path / "both.ckpt"
    first, last = (dict(part) for part in (list(whole.items())[:14], list(whole.items())[14:]))

    assert examples_of_run(0, 1, folder, None, alone) == (first, 14)
    assert on_two_ranks(tmp_path, folder, None, both) == (first, 14)
    assert on_two_ranks(tmp_path, folder, alone) == (last, n_steps)
    assert examples_of_run(0, 1, folder, both) == (last, n_steps)


@pytest.mark.ranks
def test_twice_as_many_ranks_go_on_with_the_rows_that_are_left(folder, tmp_path):
    """One rank of 4 queries, then two of 4: the examples that one rank of 8 would be given."""
    path = tmp_path / "14.ckpt"
    first, _ = examples_of_run(0, 1, folder, None, path)
    data = {"batch_size": 8, "on_other_global_batch": "continue"}
    alone = examples_of_run(0, 1, folder, path, None, data)

    both = on_two_ranks(tmp_path, folder, path, None, data | {"batch_size": 4})

    assert both == alone
    rows = [one[:2] for part in (first, both[0]) for at in part if at[0] == 1 for one in part[at]]
    assert len(set(rows)) == len(rows)


def test_a_checkpoint_loads_with_weights_only_and_its_state_is_the_same_whatever_the_rank(
    checkpoint,
):
    state = torch.load(checkpoint, weights_only=True)["RetrievalDataModule"]

    assert (state["epoch"], state["step"]) == (1, 3)
    assert "rank" not in str(state)


CHANGES = {
    "seed": ({"seed": 6}, r"seed\n  checkpoint: 5\n  this run:   6"),
    "group": ({"train_group_size": 2}, r"train_group_size\n  checkpoint: 3\n  this run:   2"),
    "batch": ({"batch_size": 2}, r"dataset qa, global batch\n  checkpoint: 4\n  this run:   2"),
    "order": ({"organize_method": "random"}, r"checkpoint: 'epoch'\n  this run:   'random'"),
    "length": ({"key_max_length": 16}, r"key_max_length\n  checkpoint: 24\n  this run:   16"),
    "filter": ({"teacher_scores_min": 12}, "dataset qa, rows kept"),
    "instruction": ({"add_instruction": False}, r"instructions, chat, key\n  checkpoint: 'said '"),
    "recipe": (
        {"recipe": RECIPE | {"training": {"qa": {"select_negative": "first"}}}},
        r"qa, settings, select_negative\n  checkpoint: 'random'\n  this run:   'first'",
    ),
    "recipe's task": (
        {"recipe": RECIPE | {"training": {}}},
        r"chat, settings, select_positive\n  checkpoint: 'teacher'\n  this run:   'first'",
    ),
    "remainder": ({"remainder": "drop"}, r"remainder\n  checkpoint: 'rotate'"),
    "shuffle": ({"shuffle_window": 16}, r"shuffle_window\n  checkpoint: None"),
    "sample": ({"max_sample_num": 20}, r"qa, rows kept\n  checkpoint: 23\n  this run:   20"),
    "pairs": ({"cross": True}, r"cross\n  checkpoint: False\n  this run:   True"),
}


SET_BY = {
    "seed": "data.seed=5",
    "group": "data.train_group_size=3",
    "batch": "data.batch_size, or batch_size of the source, and the number of ranks",
    "order": "data.organize_method=epoch",
    "length": "data.key_max_length=24",
    "filter": "data.train_data: the same files; data.max_sample_num, data.teacher_scores_min",
    "instruction": "data.recipe, data.add_instruction,",
    "recipe": "data.select_negative=random",
    "recipe's task": "data.select_positive=teacher",
    "remainder": "data.remainder=rotate",
    "shuffle": "data.shuffle_window=null",
    "sample": "data.train_data: the same files; data.max_sample_num,",
    "pairs": "data.cross=false",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resume_with_other_settings_is_refused_with_both_sides(folder, checkpoint, change):
    """The message also names the config key that decides each difference."""
    arguments, sentence = CHANGES[change]

    with pytest.raises(ConfigError, match=sentence) as raised:
        run(folder, arguments, {}, ckpt_path=checkpoint)
    assert f"\n  set by:     {SET_BY[change]}" in str(raised.value)


def test_a_resume_with_other_files_is_refused_whatever_their_names(folder, checkpoint, tmp_path):
    path = write_train(tmp_path / "train.jsonl", "qa", 23, scored=True)
    train = {name: str(folder / name / "train.jsonl") for name in ("qa", "tool", "chat")}

    run(folder, {"train_data": train | {"qa": str(path)}}, {}, ckpt_path=checkpoint)  # a copy
    path.write_text(path.read_text().replace("qa neg 7 1", "qa neg 7 2"))  # as long as before
    with pytest.raises(ConfigError, match=r"dataset qa, files\n  checkpoint: .*\n  this run: "):
        run(folder, {"train_data": train | {"qa": str(path)}}, {}, ckpt_path=checkpoint)
    with path.open("a") as file:
        file.write(json.dumps({"query": "one more", "pos": ["p"], "neg": ["n"], "task": "qa"}))
    with pytest.raises(ConfigError, match=r"rows kept\n  checkpoint: 23\n  this run:   24"):
        run(folder, {"train_data": train | {"qa": str(path)}}, {}, ckpt_path=checkpoint)
    fewer = {name: train[name] for name in ("qa", "tool")}
    with pytest.raises(ConfigError, match=r"dataset chat, task\n  checkpoint: 'chat'\n .*'absent'"):
        run(folder, {"train_data": fewer}, {}, ckpt_path=checkpoint)
    reordered = dict(reversed(train.items()))
    with pytest.raises(ConfigError, match=r"datasets\n  checkpoint: \['qa', 'tool', 'chat'\]"):
        run(folder, {"train_data": reordered}, {}, ckpt_path=checkpoint)
    weighted = {"path": train["qa"], "weight": 2}
    with pytest.raises(ConfigError, match=r"dataset qa, weight\n  checkpoint: 1\.0"):
        run(folder, {"train_data": train | {"qa": weighted}}, {}, ckpt_path=checkpoint)


# -- another global batch --------------------------------------------------------------------------


def test_another_global_batch_is_refused_with_what_allows_it(folder, checkpoint):
    with pytest.raises(ConfigError, match=r"or set data\.on_other_global_batch=continue"):
        run(folder, {"batch_size": 2}, {}, ckpt_path=checkpoint)
    with pytest.raises(ConfigError, match=r"start anew from the weights alone\)$") as refused:
        run(folder, {"batch_size": 2, "seed": 6}, {}, ckpt_path=checkpoint)
    assert "continue" not in str(refused.value).splitlines()[-1]
    with pytest.raises(ConfigError, match=r"seed\n  checkpoint: 5\n  this run:   6") as refused:
        run(
            folder,
            {"batch_size": 2, "seed": 6, "on_other_global_batch": "continue"},
            {},
            ckpt_path=checkpoint,
        )
    assert "batch\n" not in str(refused.value)


def pairs(steps, epochs):
    """The rows of some epochs of a run, each with its dataset."""
    return [
        (dataset, row)
        for (epoch, _), (dataset, rows, _) in steps.items()
        if epoch in epochs
        for row in rows
    ]


CONTINUED = {
    "halved": ({"batch_size": 2}, {}),
    "a third less": ({"batch_size": 3}, {}),
    "doubled": ({"batch_size": 8}, {}),
    "scheduled": ({"batch_size": 2}, {"scheduled": True}),
    "doubled, scheduled": ({"batch_size": 8}, {"scheduled": True}),
    "workers": ({"batch_size": 2, "num_workers": 2}, {}),
    "accumulating": ({"batch_size": 2}, {"trainer": {"accumulate_grad_batches": 3}}),
    "static": ({"batch_size": 2, "organize_method": "epoch-static"}, {}),
    "reloading": ({"batch_size": 2}, {"trainer": {"reload_dataloaders_every_n_epochs": 1}}),
    "restored late": ({"batch_size": 8}, {"trainer": {"strategy": LateStrategy}}),
}


@pytest.mark.parametrize("n_before", mostly_slow([1, 12, 14, 18], 14, 18))
@pytest.mark.parametrize(
    "case", mostly_slow(CONTINUED, "halved", "doubled, scheduled", "accumulating", "restored late")
)
def test_a_run_with_another_global_batch_trains_on_the_rows_that_are_left(
    folder, uninterrupted, saved, tmp_path, case, n_before
):
    data, settings = CONTINUED[case]
    settings = dict(settings)
    trainer = dict(settings.pop("trainer", {}))
    if trainer.get("strategy") is LateStrategy:
        trainer |= {"strategy": LateStrategy(), "accelerator": "auto"}
    before = {name: value for name, value in data.items() if name == "organize_method"}
    path = saved[n_before]
    if before:
        path = tmp_path / "some.ckpt"
        with pytest.raises(KeyError):
            run(folder, before, {}, callbacks=[Interruption(path, n_before)])
    first, *_ = uninterrupted(**before)
    first = dict(list(first.items())[:n_before])
    fresh, *_ = uninterrupted(**data)
    epoch, step = n_before // STEPS, n_before % STEPS
    steps = len([1 for at in fresh if at[0] == 0])

    with pytest.warns(
        UserWarning, match="this run has other global batches than the checkp"
    ) as said:
        resumed, *_ = run(
            folder,
            data | {"on_other_global_batch": "continue"},
            trainer,
            ckpt_path=path,
            **settings,
        )

    rest = pairs(resumed, {epoch})
    whole = rest + pairs(first, {epoch})
    assert len(set(whole)) == len(whole)
    # What is left of each dataset is in global batches; fewer rows than one are left out of each.
    [note] = {str(one.message) for one in said if "other global" in str(one.message)}
    first_step = min(at[1] for at in resumed if at[0] == epoch)
    assert f"epoch {epoch} continues with its {4 * (STEPS - step)} remaining rows" in note
    assert f"in {steps - first_step} steps from step {first_step} on" in note
    assert (
        f"{4 * (STEPS - step) - len(rest)} rows that do not fill a global batch are left out"
        in note
    )
    assert 4 * (STEPS - step) - len(rest) < len(TRAIN) * data["batch_size"]
    # Lightning numbers the steps as if the epoch had been this run's from its beginning.
    assert [at for at in resumed if at[0] == epoch] == [
        (epoch, number) for number in range(first_step, steps)
    ]
    assert {at: one for at, one in resumed.items() if at[0] > epoch} == {
        at: one for at, one in fresh.items() if at[0] > epoch
    }


@pytest.mark.slow
def test_a_run_that_went_on_with_another_global_batch_goes_on_like_any_other(
    folder, uninterrupted, checkpoint, tmp_path
):
    """From each of its checkpoints: with its own global batch exactly, and with a third one."""
    data = {"batch_size": 2, "on_other_global_batch": "continue"}
    first = pairs(dict(list(uninterrupted()[0].items())[:14]), {1})
    saver = Saver(tmp_path)
    whole, n_steps, _ = run(folder, data, {}, ckpt_path=checkpoint, callbacks=[saver])
    fresh, *_ = uninterrupted(batch_size=3)
    paths = sorted(tmp_path.glob("*.ckpt"))
    assert len(paths) == len(whole) + 2

    for path in paths:
        n_before = n_trained(path)
        left = dict(list(whole.items())[n_before:])
        assert run(folder, data, {}, ckpt_path=path)[:2] == (left, n_steps), path.name
        if n_before > 10:
            continue
        third, *_ = run(folder, data | {"batch_size": 3}, {}, ckpt_path=path)
        epoch_1 = first + pairs(dict(list(whole.items())[:n_before]), {1}) + pairs(third, {1})
        assert len(set(epoch_1)) == len(epoch_1) >= 44 - 2 * len(TRAIN) - 2
        assert {at: one for at, one in third.items() if at[0] == 2} == {
            at: one for at, one in fresh.items() if at[0] == 2
        }


def test_random_draws_go_on_as_far_into_the_epoch(folder, tmp_path):
    path, order = tmp_path / "14.ckpt", {"organize_method": "random"}
    with pytest.raises(KeyError):
        run(folder, order, {}, callbacks=[Interruption(path, 14)])
    data = order | {"batch_size": 2}
    fresh, *_ = run(folder, data, {})

    with pytest.warns(UserWarning, match="epoch 1 continues at step 6, the same fraction"):
        resumed, *_ = run(folder, data | {"on_other_global_batch": "continue"}, {}, ckpt_path=path)

    assert resumed == {at: one for at, one in fresh.items() if at >= (1, 6)}


def test_an_epochs_end_leaves_nothing_to_go_on_with(folder, uninterrupted, tmp_path):
    run(folder, {}, {"max_epochs": 1}, callbacks=[Saver(tmp_path)])
    [path] = tmp_path.glob("*epoch end.ckpt")
    fresh, *_ = uninterrupted(batch_size=8)

    with pytest.warns(UserWarning, match="chat 8 rows, not 4; it continues with epoch 1"):
        resumed, *_ = run(
            folder, {"batch_size": 8, "on_other_global_batch": "continue"}, {}, ckpt_path=path
        )

    assert resumed == {at: one for at, one in fresh.items() if at[0] > 0}


@pytest.mark.parametrize(
    ("limit", "steps"), [(20, range(8, 20)), (0.5, range(8, 12)), (8, [7]), (4, [3])]
)
def test_a_limited_epoch_ends_where_lightning_ends_it(folder, checkpoint, limit, steps):
    """With 8 steps of 24 done; a limit that is passed already leaves one step."""
    data = {"batch_size": 2, "on_other_global_batch": "continue"}

    resumed, *_ = run(folder, data, {"limit_train_batches": limit}, ckpt_path=checkpoint)

    assert [step for epoch, step in resumed if epoch == 1] == list(steps)
    assert [step for epoch, step in resumed if epoch == 2] == list(range(steps[-1] + 1))


def test_a_limited_epoch_that_is_left_before_its_one_step_goes_on_with_the_same(
    folder, checkpoint, tmp_path
):
    data = {"batch_size": 2, "on_other_global_batch": "continue"}
    limit, path = {"limit_train_batches": 8}, tmp_path / "none.ckpt"
    whole, *_ = run(folder, data, limit, ckpt_path=checkpoint)

    with pytest.raises(KeyError):
        run(folder, data, limit, ckpt_path=checkpoint, callbacks=[Interruption(path, 0, True)])

    assert run(folder, data, limit, ckpt_path=path)[0] == whole


def test_validation_comes_where_it_would_have_come(folder, checkpoint):
    class Checks(lightning.Callback):
        places = ()

        def on_validation_start(self, trainer, module):
            last = list(module.trained)[-1]
            Checks.places = (*Checks.places, last)

    data = {"batch_size": 2, "on_other_global_batch": "continue"} | eval_arguments(folder)
    run(folder, data, {}, ckpt_path=checkpoint, callbacks=[Checks()])

    assert Checks.places == ((1, 23), (2, 23))


def test_rows_that_fill_no_global_batch_end_the_epoch_with_a_step_of_its_own(
    folder, uninterrupted, saved
):
    fresh, *_ = uninterrupted(batch_size=8)

    with pytest.warns(UserWarning, match="has 4 rows left, which do not fill a global batch"):
        resumed, *_ = run(
            folder, {"batch_size": 8, "on_other_global_batch": "continue"}, {}, ckpt_path=saved[21]
        )

    assert resumed == {at: one for at, one in fresh.items() if at >= (1, 4)}


def test_a_setting_may_move_from_the_recipe_to_an_argument(folder, tmp_path):
    recipe = RECIPE | {"training": {task: {"select_negative": "first"} for task in TRAIN}}
    path = tmp_path / "2.ckpt"
    with pytest.raises(KeyError):
        run(folder, {"recipe": recipe}, {}, callbacks=[Interruption(path, 2)])

    argument = {"recipe": RECIPE | {"training": {}}, "select_negative": "first"}
    resumed, *_ = run(folder, argument, {}, ckpt_path=path)

    assert len(resumed) == EPOCHS * STEPS - 2


@pytest.mark.parametrize("unknown", [(), ("length_window",)])  # which its first writers had not
def test_a_state_of_version_1_is_read_by_this_version(
    folder, uninterrupted, checkpoint, tmp_path, unknown
):
    """The file is never edited: a version that cannot read it has to learn how.

    It is what this module wrote into a checkpoint after 14 steps; the paths of files are not in it.
    """
    state = json.loads((Path(__file__).parent / "state_version_1.json").read_text())
    for fact in unknown:
        del state["facts"][fact]
    whole, *_ = uninterrupted()
    stored = torch.load(checkpoint, weights_only=True) | {"RetrievalDataModule": state}
    torch.save(stored, tmp_path / "old.ckpt")

    resumed, *_ = run(folder, {}, {}, ckpt_path=tmp_path / "old.ckpt")

    assert state["version"] == 1
    assert resumed == dict(list(whole.items())[14:])


def test_a_state_of_version_2_is_read_by_this_version(folder, uninterrupted, checkpoint, tmp_path):
    """It does not say which columns were read: a source may name some."""
    state = json.loads((Path(__file__).parent / "state_version_2.json").read_text())
    whole, *_ = uninterrupted()
    stored = torch.load(checkpoint, weights_only=True) | {"RetrievalDataModule": state}
    torch.save(stored, tmp_path / "old.ckpt")
    sources = {n: {"path": str(folder / n / "train.jsonl"), "query_id": "id"} for n in TRAIN}

    resumed, *_ = run(folder, {"train_data": sources}, {}, ckpt_path=tmp_path / "old.ckpt")

    assert state["version"] == 2
    assert resumed == dict(list(whole.items())[14:])


def test_the_state_of_this_version_is_written_and_read_as_ever(
    folder, uninterrupted, checkpoint, tmp_path
):
    """The file is never edited; a change of the state needs a new version."""
    state = json.loads((Path(__file__).parent / "state_version_3.json").read_text())
    whole, *_ = uninterrupted()
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["RetrievalDataModule"] == state
    torch.save(stored | {"RetrievalDataModule": state}, tmp_path / "old.ckpt")

    resumed, *_ = run(folder, {}, {}, ckpt_path=tmp_path / "old.ckpt")

    assert resumed == dict(list(whole.items())[14:])


def test_a_state_of_a_later_version_is_refused(folder):
    with pytest.raises(ConfigError, match="version 99, but this package reads versions up to 3"):
        make_datamodule(folder).load_state_dict({"version": 99, "epoch": 0, "step": 0, "facts": {}})


def test_a_checkpoint_that_was_only_tested_moves_no_later_run(folder, checkpoint):
    datamodule = make_datamodule(folder, **eval_arguments(folder))
    fresh, again = Recorder(), Recorder()
    make_trainer(max_epochs=1).fit(fresh, datamodule=make_datamodule(folder))

    make_trainer().test(Recorder(), datamodule=datamodule, ckpt_path=checkpoint, verbose=False)
    make_trainer(max_epochs=1).fit(again, datamodule=datamodule)

    assert again.trained == fresh.trained


def test_a_resume_makes_no_batch_of_those_before_it(folder, checkpoint, monkeypatch):
    from llm_embedder_data.batches.groups.train_groups import TrainGroups

    made = []
    original = TrainGroups.several
    monkeypatch.setattr(
        TrainGroups, "several", lambda self, steps: made.extend(steps) or original(self, steps)
    )

    run(folder, {}, {}, ckpt_path=checkpoint)

    assert sorted((at.epoch, at.step) for at in made) == [
        *((1, step) for step in range(3, STEPS)),
        *((2, step) for step in range(STEPS)),
    ]


@pytest.mark.parametrize("scheduled", [False, True])
def test_lightning_finds_nothing_to_warn_of_in_a_resumed_run(folder, checkpoint, scheduled):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run(folder, {}, {}, scheduled=False, ckpt_path=checkpoint)

    said = [str(one.message) for one in found if "lightning" in one.filename]
    of_the_machine = ("many workers", "treespec", "`srun` command")
    assert not [one for one in said if not any(advice in one for advice in of_the_machine)]


class SavedAtLastStep(lightning.Callback):
    """A checkpoint of the last step of epoch 0, as ModelCheckpoint(every_n_train_steps) makes."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 0 and batch_idx == trainer.num_training_batches - 1:
            trainer.save_checkpoint(self.path)


def test_the_epoch_after_a_last_step_is_whole_with_smaller_global_batches(tmp_path):
    path = write_train(tmp_path / "qa" / "train.jsonl", "qa", 24)
    data = {"train_data": {"qa": str(path)}, "on_other_global_batch": "continue"}
    saved = tmp_path / "last step.ckpt"
    run(tmp_path, data | {"batch_size": 8}, {}, callbacks=[SavedAtLastStep(saved)])

    whole, _, _ = run(tmp_path, data | {"batch_size": 4}, {})
    with pytest.warns(UserWarning, match="it continues with epoch 1"):
        rest, _, _ = run(tmp_path, data | {"batch_size": 4}, {}, ckpt_path=saved)

    assert rest == {(epoch, step): batch for (epoch, step), batch in whole.items() if epoch}
