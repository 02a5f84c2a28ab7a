"""Negatives that are mined anew during training: batches stay exact wherever a run is resumed."""

import json
import shutil

import lightning
import pytest
import torch
from transformers import BertConfig, BertModel

from llm_embedder_data import BiEncoder, ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.callbacks import refresh_negatives
from llm_embedder_data.callbacks.refresh_negatives import RefreshNegatives
from tests.datamodule.datamodule_cases import make_tokenizer, write
from tests.processes import returned, run_on_ranks

N_ROWS = 16


def write_data(folder):
    words = ["cat", "dog", "sea", "sky", "fig", "owl", "ivy", "elk"]
    texts = [f"{words[i % 8]} {words[(3 * i + i // 8) % 8]} {i}" for i in range(32)]
    write(folder / "corpus.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    rows = [
        {"query": f"{words[i % 8]} {i}", "query_id": f"q{i}", "pos": [texts[i]], "neg": []}
        for i in range(N_ROWS)
    ]
    write(folder / "qa" / "train.jsonl", rows)


def datamodule(folder, cache="cache", **arguments):
    train = arguments.pop("train_data", {"qa": str(folder / "qa" / "train.jsonl")})
    return RetrievalDataModule(
        tokenizer=make_tokenizer(),
        train_data=train,
        corpus=str(folder / "corpus.jsonl"),
        add_instruction=False,
        on_no_negatives="keep",
        train_group_size=3,
        batch_size=8 // arguments.pop("n_ranks", 1),
        cache_dir=str(folder / cache),
        num_workers=arguments.pop("num_workers", 0),
        query_max_length=16,
        key_max_length=16,
        **arguments,
    )


def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
    )
    return BiEncoder(BertModel(config), pooling="mean", similarity="cos", learning_rate=0.05)


class Recorded(lightning.Callback):
    """What is trained on, step by step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append((trainer.current_epoch, batch["key_id"].tolist()))


class Saved(lightning.Callback):
    """A checkpoint after each step, and at each epoch's end."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}-end.ckpt")


class SavedOnException(lightning.Callback):
    def __init__(self, path):
        self.path = path

    def on_exception(self, trainer, pl_module, exception):
        trainer.save_checkpoint(self.path)


def quiet_trainer(callbacks, folder, *, max_epochs, n_ranks=1):
    return lightning.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        devices=n_ranks,
        strategy="ddp" if n_ranks > 1 else "auto",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def fit(
    folder,
    *,
    saved=None,
    ckpt_path=None,
    callback=None,
    others=(),
    n_ranks=1,
    max_epochs=4,
    **data,
):
    recorded = Recorded()
    refresh = callback or RefreshNegatives(2, folder=folder / "negatives", depth=6)
    callbacks = [refresh, recorded, *([Saved(saved)] if saved else []), *others]
    trainer = quiet_trainer(callbacks, folder, max_epochs=max_epochs, n_ranks=n_ranks)
    module = datamodule(folder, n_ranks=n_ranks, **data)
    trainer.fit(model(), datamodule=module, ckpt_path=ckpt_path)
    return recorded.seen


def n_negatives(step):
    return sum(key != 0 for key in step[1]) - 8


@pytest.mark.parametrize(
    "data",
    [
        {},
        pytest.param({"tokenize": "cached"}, marks=pytest.mark.slow),
        pytest.param({"num_workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_run_resumed_anywhere_has_the_batches_of_one_that_never_stopped(tmp_path, data):
    write_data(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()

    whole = fit(tmp_path, saved=saved, **data)

    assert [n_negatives(step) for step in whole[:4]] == [0] * 4
    assert all(n_negatives(step) == 16 for step in whole[4:])
    every = sorted(saved.iterdir()) if not data else [saved / "5.ckpt", saved / "4-end.ckpt"]
    for checkpoint in every:
        n_done = int(checkpoint.stem.split("-")[0])
        rest = fit(tmp_path, ckpt_path=checkpoint, **data)
        assert rest == whole[n_done:], checkpoint.name


@pytest.mark.parametrize("at", ["write_mined", "mine"])
def test_a_mining_that_failed_is_done_when_the_run_resumes(tmp_path, monkeypatch, at):
    write_data(tmp_path)
    whole = fit(tmp_path)
    path = tmp_path / "failed.ckpt"

    def stop(*arguments, **settings):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(refresh_negatives, at, stop)
        with pytest.raises(RuntimeError, match="stopped"):
            fit(tmp_path, others=[SavedOnException(path)])
    rest = fit(tmp_path, ckpt_path=path, max_epochs=5)

    # Lightning 2.6.6 skips a number when a fit stops at the start of an epoch, so keys alone.
    assert [keys for _, keys in rest] == [keys for _, keys in whole[4:]]


def test_negatives_are_mined_in_their_epochs_after_resumes_from_last_steps(tmp_path):
    write_data(tmp_path)
    whole = fit(tmp_path, max_epochs=5)
    path = None

    for n_done in (0, 2, 4):  # resumes from the last step of epoch 0, then of epoch 1
        saved = tmp_path / f"saved-{n_done}"
        saved.mkdir()
        rest = fit(tmp_path, saved=saved, ckpt_path=path, max_epochs=5)
        path = saved / f"{n_done + 2}.ckpt"
        assert rest == whole[n_done:]


def test_a_callback_mines_again_in_another_fit(tmp_path):
    write_data(tmp_path)
    refresh = RefreshNegatives(2, folder=tmp_path / "negatives", depth=6)

    first = fit(tmp_path, callback=refresh, max_epochs=3)
    second = fit(tmp_path, callback=refresh, max_epochs=3)

    assert all(n_negatives(step) == 16 for step in first[4:])
    assert second == first


def test_no_passage_with_the_id_of_a_positive_is_mined_anew(tmp_path, caplog):
    write_data(tmp_path)
    corpus = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    write(tmp_path / "corpus.jsonl", [{**passage, "title": "sea"} for passage in corpus])
    path = tmp_path / "qa" / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write(path, [{**row, "pos_id": [f"d{i}"]} for i, row in enumerate(rows)])

    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")

    fit(
        tmp_path,
        callback=RefreshNegatives(1, folder=tmp_path / "negatives", depth=32),
        max_epochs=2,
    )

    run = (tmp_path / "negatives" / "qa-epoch-1.tsv").read_text().splitlines()
    found = {tuple(line.split("\t")[:2]) for line in run}
    assert found == {(f"q{i}", f"d{j}") for i in range(N_ROWS) for j in range(32) if i != j}
    assert f"{N_ROWS} passages left out as they have the id of a positive" in caplog.text


def test_limits_on_scores_act_from_the_first_mining_on(tmp_path):
    write_data(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    limit = {"max_score": 0.9}

    with pytest.warns(
        UserWarning, match=r"no row has a negative yet, so max_score leaves none out"
    ):
        limited = fit(tmp_path, saved=saved, **limit)
    free = fit(tmp_path)

    assert [n_negatives(step) for step in limited[:4]] == [0] * 4
    assert limited[:4] == free[:4]
    runs = sorted((tmp_path / "negatives").glob("*epoch-2.tsv"))
    scores = [float(line.split("\t")[2]) for run in runs for line in run.read_text().splitlines()]
    assert min(scores) < 0.9 < max(scores)
    assert limited[4:] != free[4:]
    for n_done in (2, 5):
        assert fit(tmp_path, ckpt_path=saved / f"{n_done}.ckpt", **limit) == limited[n_done:]


def test_negatives_without_scores_need_a_run_of_mine_for_a_limit_on_scores(tmp_path):
    write_data(tmp_path)
    train = tmp_path / "qa" / "train.jsonl"
    train.write_text(train.read_text().replace('"neg": []', '"neg": ["an owl"]'))

    sentence = r"max_score=0.5 needs for task 'qa'.*name in negatives: the file that mine writes"
    with pytest.raises(DataError, match=sentence):
        fit(tmp_path, max_score=0.5)


def _fit_on_rank(rank, folder, ckpt_path=None, saved=None):
    seen = fit(folder, n_ranks=2, ckpt_path=ckpt_path, saved=saved)
    return [(epoch, keys) for epoch, keys in seen]


@pytest.mark.slow  # two groups of processes
def test_two_ranks_mine_together_and_resume_in_the_middle(tmp_path):
    write_data(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()

    whole = returned(run_on_ranks(_fit_on_rank, 2, tmp_path, tmp_path, None, saved))
    rest = returned(run_on_ranks(_fit_on_rank, 2, tmp_path, tmp_path, saved / "5.ckpt"))

    assert [seen[5:] for seen in whole] == rest
    assert whole[0] != whole[1]
    assert all(sum(k != 0 for k in keys) == 12 for seen in whole for _, keys in seen[4:])


def test_a_side_car_that_has_changed_or_gone_is_refused_by_its_name(tmp_path):
    write_data(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    fit(tmp_path, saved=saved, max_epochs=3)
    [run] = (tmp_path / "negatives").glob("*epoch-2.tsv")
    content = run.read_text()

    run.write_text(content.replace("\td", "\tx", 1))
    with pytest.raises(ConfigError, match=r"qa-epoch-2\.tsv, which has other content now"):
        fit(tmp_path, ckpt_path=saved / "5.ckpt")
    run.unlink()
    with pytest.raises(ConfigError, match=r"qa-epoch-2\.tsv, which cannot be read"):
        fit(tmp_path, ckpt_path=saved / "5.ckpt")
    shutil.rmtree(tmp_path / "negatives")
    fit(tmp_path, ckpt_path=saved / "3.ckpt", max_epochs=3)  # before it, it is mined again


def test_another_file_of_negatives_is_refused_by_the_name_of_the_setting(tmp_path):
    write_data(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    never = RefreshNegatives(99)

    def source(documents):
        path = tmp_path / "run.tsv"
        path.write_text("".join(f"q{i}\t{d}\t0.5\n" for i in range(N_ROWS) for d in documents))
        return {"qa": {"path": str(tmp_path / "qa" / "train.jsonl"), "negatives": str(path)}}

    def run(documents, **how):
        module = datamodule(tmp_path, train_data=source(documents))
        trainer = quiet_trainer([never, *([] if how else [Saved(saved)])], tmp_path, max_epochs=1)
        trainer.fit(model(), datamodule=module, **how)

    run(["d20", "d21"])

    with pytest.raises(ConfigError, match=r"dataset qa, settings, negatives"):
        run(["d20", "d22"], ckpt_path=saved / "1.ckpt")


@pytest.mark.parametrize("arguments", [{"every_n_epochs": 0}, {"depth": 1.5}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ConfigError, match="expected a whole number of at least 1"):
        RefreshNegatives(**arguments)


def test_a_source_that_does_not_exist_is_refused_before_a_step(tmp_path):
    write_data(tmp_path)

    with pytest.raises(ConfigError, match="no source 'qqa', expected one of qa"):
        fit(tmp_path, callback=RefreshNegatives(datasets=["qqa"], folder=tmp_path / "negatives"))


def test_two_sources_with_one_file_are_refused_before_a_step(tmp_path):
    write_data(tmp_path)
    path = str(tmp_path / "qa" / "train.jsonl")

    with pytest.raises(ConfigError, match=r"'a/b' and 'a_b' would both be written to a_b-epoch"):
        fit(tmp_path, train_data={"a/b": path, "a_b": path})


def test_only_the_named_sources_are_mined_for(tmp_path):
    write_data(tmp_path)
    path = str(tmp_path / "qa" / "train.jsonl")
    refresh = RefreshNegatives(datasets=["a/b"], folder=tmp_path / "negatives", depth=6)

    fit(tmp_path, callback=refresh, train_data={"a/b": path, "a_b": path}, max_epochs=2)

    assert [found.name for found in (tmp_path / "negatives").glob("*epoch-1.tsv")] == [
        "a_b-epoch-1.tsv"
    ]
