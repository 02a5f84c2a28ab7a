"""What the console makes of what is typed: nothing runs that was not asked for, each mistake is
one sentence, and a refused run leaves nothing behind."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback as HydraCallback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf
from transformers import AutoTokenizer, BertConfig, BertModel

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.cli import main as cli
from llm_embedder_data.config import build, load_config

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def tiny(minilm, tmp_path_factory) -> str:
    """The folder of an encoder of one small layer, with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
        )
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the console script in this process, in a folder of its own; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["llm-embedder-data", *arguments])
        try:
            cli.main()
        except SystemExit as leaving:
            if leaving.code:  # Hydra 1.4 leaves with 0 after --cfg and --help
                raise
        finally:
            GlobalHydra.instance().clear()
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run):
    """Run the console script, which is to refuse; the sentence it leaves with."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as leaving:
            run(*arguments)
        said = str(leaving.value)
        assert said.startswith("llm-embedder-data "), said
        assert "Traceback" not in said
        assert "\n" not in said
        assert not Path("outputs").exists()
        return said

    return call


def rows(folder: Path, name: str = "mine") -> Path:
    """A folder with train.jsonl, eval.jsonl and corpus.jsonl."""
    folder = folder / name
    folder.mkdir(parents=True)
    train = [
        {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i} a", f"n {i} b"]} for i in range(8)
    ]
    # Some of the right passages are others than those nearest, so that no metric is 0 or 1.
    tests = [{"query": f"text {i}", "pos_index": [i + i % 3]} for i in range(7)]
    corpus = [{"title": "", "text": f"text {i}"} for i in range(9)]
    for kind, content in (("train", train), ("eval", tests), ("corpus", corpus)):
        lines = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{kind}.jsonl").write_text(lines)
    return folder


@pytest.fixture
def settings(tiny, tmp_path):
    """Settings of a short run on files of its own."""
    folder = rows(tmp_path / "data")
    return [
        f"encoder={tiny}",
        f"data.train_data={folder}/train.jsonl",
        "data.batch_size=2",
        "data.train_group_size=3",
        f"data.cache_dir={tmp_path}/cache",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.limit_train_batches=2",
        "export=false",
        "trainer.enable_model_summary=false",
    ]


@pytest.fixture
def evaluation(tmp_path):
    folder = tmp_path / "data/mine"
    return [f"data.eval_data={{mine: {folder}/eval.jsonl}}", f"data.corpus={folder}/corpus.jsonl"]


# -- arguments


@pytest.mark.parametrize("verb", ["fit", "validate", "plan"])
@pytest.mark.parametrize("argument", ["", " ", "=", "+", "~", "+=3", "~=", "++", "=3", "\t"])
def test_an_argument_without_a_key_is_refused(refused, verb, argument):
    said = refused(verb, argument)

    assert repr(argument) in said
    assert "is no setting" in said
    assert "expected KEY=VALUE" in said


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("data.batch_size", "is no setting: expected KEY=VALUE"),
        ("data.batch_size=", "there is no value"),
        ("--verson", "there is no flag '--verson'; did you mean '--version'?"),
        ("--cfg", "nothing follows the flag '--cfg'"),
        ("data.train_data={a: x=1.jsonl}", "is quoted"),
        ("~data", "the verb needs data"),
        ("~encoder", "the verb needs encoder"),
        ("seed", "is no setting"),
        ("logger=null", "logger is a group, from which a name is chosen"),
        ("callbacks=[1]", "callbacks is a group, from which a name is chosen"),
        ("data@=1", "data is a group, from which a name is chosen"),
        ("callbacks.progress=3", "callbacks.progress=3: expected a mapping with a _target_"),
        ("seed=abc", "seed='abc': expected a whole number"),
        ("data.train_data=${nope}", "Interpolation key 'nope' not found"),
        ("hydra.run.dir=/dev/null/x", "the run's folder cannot be made"),
        ("seed=-1", "seed=-1: expected a whole number"),
    ],
)
def test_a_slip_of_the_hand_is_named(refused, argument, sentence):
    assert sentence in refused("fit", argument)


def test_the_version_is_told(run):
    said = run("--version")

    assert re.fullmatch(r"llm-embedder-data \d+\.\d+\S*\n", said)
    assert run("fit", "--version") == run("validate", "data.batch_size=3", "--version") == said


@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_help_lists_keys_with_their_comments(run, verb):
    lines = run(verb, "--help", "data.batch_size=3", "recipe=bge").splitlines()

    for key, comment in (
        ("  batch_size: 3", "queries per rank and step"),
        ("metrics_file: null", "JSON of the metrics, unrounded"),
        ("  temperature: null", ""),
        ("  max_epochs: 1", ""),
    ):
        assert any(line.startswith(key) and comment in line for line in lines), key
    assert any(line.strip().startswith("recipe: auto, bge") for line in lines)


def test_help_of_a_setting_that_is_wrong_says_so(refused):
    assert "no key 'data.batchsize'" in refused("fit", "--help", "data.batchsize=3")


# -- checkpoints


def _nothing(path: Path) -> None:
    (path.parent / "last.ckpt").write_bytes(b"")


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _folder_of_checkpoints(path: Path) -> None:
    path.mkdir()
    (path / "last.ckpt").touch()


def _garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 9)


def _cut_off(path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:900])


def _weights_alone(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)


def _list(path: Path) -> None:
    torch.save([1, 2], path)


def _no_numbers(path: Path) -> None:
    torch.save({"state_dict": [1]}, path)


@pytest.mark.parametrize(
    ("verb", "make", "sentence"),
    [
        ("fit", _nothing, "there is no such file; did you mean"),
        ("validate", _nothing, "there is no such file; did you mean"),
        ("fit", _empty_folder, "is a folder, not a checkpoint"),
        ("fit", _folder_of_checkpoints, "in it there are lst.ckpt/last.ckpt"),
        ("fit", _garbage, "is no checkpoint: not an archive"),
        ("validate", _cut_off, "is no checkpoint: not an archive"),
        ("fit", _weights_alone, "holds no 'state_dict'"),
        ("validate", _list, "holds no 'state_dict'"),
        ("validate", _no_numbers, "holds no 'state_dict'"),
    ],
)
def test_what_is_no_checkpoint_is_named(refused, tmp_path, tiny, verb, make, sentence):
    make(tmp_path / "lst.ckpt")

    data = "data.eval_data=x.jsonl" if verb == "validate" else "data.train_data=x.jsonl"
    said = refused(verb, f"encoder={tiny}", data, "ckpt_path=lst.ckpt")

    assert "ckpt_path='lst.ckpt'" in said
    assert sentence in said


def test_a_checkpoint_is_taken_by_the_name_that_lightning_gave_it(
    run, settings, evaluation, tmp_path, refused
):
    run("fit", *settings, "hydra.run.dir=first", "trainer.enable_progress_bar=false")
    shutil.copy("first/checkpoints/last.ckpt", "epoch=0-step=2.ckpt")
    settings += ["ckpt_path=epoch=0-step=2.ckpt"]

    assert "val/mine/ndcg@10" in run("validate", *settings, *evaluation)
    run("fit", *settings, "hydra.run.dir=second", "trainer.max_epochs=2")

    assert torch.load("second/checkpoints/last.ckpt")["global_step"] == 4
    # Of another model, it is refused before Lightning lists every weight.
    shutil.rmtree("outputs")
    other = "model._target_=test_console_inputs.OwnModel"
    assert "is of another model" in refused("fit", *settings, other, "model.width=8", "model.lr=1")


# -- classes of the user


class OwnModel(lightning.LightningModule):
    """A model with arguments of its own."""

    def __init__(self, width: int, lr: float, part: object = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.lr, self.part = lr, part

    def training_step(self, batch, _):
        assert self.lr == 0.25
        return self.layer(batch["query"]["input_ids"][:, : self.layer.in_features].float()).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


class OwnPart:
    """What a model may be made of."""

    def __init__(self, size: int) -> None:
        self.size = size


class OwnTrainer(lightning.Trainer):
    """A trainer that is one."""


SEEN: list[lightning.Trainer] = []


class Recorder(lightning.Callback):
    """Keeps the trainer that it was called by."""

    def __init__(self, tag: str = "") -> None:
        self.tag = tag

    def on_fit_start(self, trainer, pl_module):
        SEEN.append(trainer)


RECORDER = "+callbacks.mine._target_=test_console_inputs.Recorder"


@pytest.fixture
def seen(monkeypatch):
    # The console imports this file by its name, which may be another module than the one run.
    import test_console_inputs

    monkeypatch.setattr(test_console_inputs, "SEEN", found := [])
    return found


@pytest.mark.parametrize("first", [True, False])
def test_classes_of_the_user_take_arguments_of_their_own(run, settings, seen, first):
    own = ["model._target_=test_console_inputs.OwnModel"]
    more = ["model.lr=0.25", "model.width=8"]
    more += ["model.part={_target_: test_console_inputs.OwnPart, size: 3}"]
    more += ["callbacks.mine.tag=a", "trainer._target_=test_console_inputs.OwnTrainer"]
    run("fit", *settings, *([*own, *more] if first else [*more, *own]), RECORDER)

    [trainer] = seen
    assert type(trainer).__name__ == "OwnTrainer"
    assert trainer.lightning_module.part.size == 3
    assert trainer.global_step == 2


def test_an_argument_that_the_users_class_has_not_is_refused(refused, settings):
    own = "model._target_=test_console_inputs.OwnModel"
    said = refused("fit", *settings, own, "model.width=8", "model.lrr=1")

    assert "model.lrr: OwnModel has no such argument; did you mean 'lr'?" in said


def test_callbacks_that_are_taken_out_are_out(run, settings, seen):
    run("fit", *settings, RECORDER)
    run("fit", *settings, RECORDER, "~callbacks.progress", "~callbacks.checkpoint")

    for trainer, is_there in zip(seen, (True, False), strict=True):
        for kind in (ProgressBar, Checkpoint):
            assert any(isinstance(one, kind) for one in trainer.callbacks) == is_there


# -- what a setting may not run

BOMB = """
from pathlib import Path


def call(*_, **__):
    Path("boom").touch()


class Made:
    def __init__(self, *_, **__):
        call()


call.__wrapped__ = None
"""


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """A module whose function and class leave a file behind when they are called."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/bomb.py").write_text(BOMB)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "bomb", raising=False)
    return tmp_path / "boom"


@pytest.fixture(scope="module")
def composed(tiny):
    return load_config([f"encoder={tiny}", "+callbacks.mine=null", "+logger.mine=null"])


KINDS = {
    "data": lightning.LightningDataModule,
    "model": lightning.LightningModule,
    "trainer": lightning.Trainer,
    "callbacks": lightning.Callback,
    "logger": Logger,
}


@pytest.mark.parametrize("name", ["bomb.call", "bomb.Made", "torch.load", "subprocess.Popen"])
@pytest.mark.parametrize(
    ("key", "wrapped"),
    [
        ("data.train_data", lambda node: node),
        ("data.train_data", lambda node: ["x.jsonl", node]),
        ("data.train_data", lambda node: {"mine": {"path": node}}),
        ("data.eval_data", lambda node: {"mine": {"path": [node]}}),
        ("data.corpus", lambda node: {"a": {"path": "x", "format": node}}),
        ("data.batch_size", lambda node: node),
        ("data.tokenizer", lambda node: node),
        ("data.recipe", lambda node: {"tasks": {"qa": node}}),
        ("data", lambda node: node),
        ("model", lambda node: node),
        ("model.temperature", lambda node: node),
        ("model.temperature", lambda node: [[node]]),
        ("trainer", lambda node: node),
        ("trainer.strategy", lambda node: node),
        ("trainer.plugins", lambda node: [node]),
        ("trainer.max_time", lambda node: node),
        ("callbacks.mine", lambda node: node),
        ("callbacks.checkpoint.dirpath", lambda node: node),
        ("callbacks.checkpoint.monitor", lambda node: {"a": {"b": [node]}}),
        ("logger.mine", lambda node: node),
        ("logger.csv.name", lambda node: node),
    ],
)
def test_a_target_where_none_may_stand_is_refused_and_not_run(
    composed, tmp_path, monkeypatch, bomb, name, key, wrapped
):
    monkeypatch.chdir(tmp_path)
    config, group = copy.deepcopy(composed), key.partition(".")[0]
    OmegaConf.set_struct(config, False)
    node = wrapped({"_target_": name, "_args_": ["touch boom"]})
    OmegaConf.update(config, key, node, merge=False)
    of_object = ".".join(key.split(".")[: 2 if group in ("callbacks", "logger") else 1])

    with pytest.raises(ConfigError) as refusal:
        build(OmegaConf.select(config, of_object), KINDS[group], of_object)

    assert f"_target_='{name}'" in str(refusal.value)
    assert key in str(refusal.value)
    assert not bomb.exists()
    if group == "data" and key != "data":
        assert "bomb" not in sys.modules  # the data needs no class, so none is looked for


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.train_data", "{{mine: {{path: {}}}}}"),
        ("encoder", "{}"),
        ("recipe.tasks", "{{qa: {}}}"),
        ("+callbacks.mine", "{}"),
        ("ckpt_path", "{}"),
        ("metrics_file", "{}"),
    ],
)
def test_the_console_runs_no_target_either(refused, settings, bomb, key, value):
    value = value.format("{_target_: bomb.Made}")
    own = [one for one in settings if not one.startswith(f"{key}=")]
    said = refused("fit", *own, f"{key}={value}")

    assert "bomb.Made" in said
    assert not bomb.exists()


# -- metrics for programs


RETURNED: list[object] = []


class Spy(HydraCallback):
    """Keeps what the jobs returned."""

    def on_job_end(self, config, job_return, **_):
        RETURNED.append(job_return._return_value)


SPY = "+hydra.callbacks.spy._target_=test_console_inputs.Spy"


@pytest.fixture
def returned(monkeypatch):
    import test_console_inputs

    monkeypatch.setattr(test_console_inputs, "RETURNED", found := [])
    return found


def test_validate_writes_its_metrics_unrounded_and_whole(run, settings, tmp_path, returned):
    one, other = rows(tmp_path / "a", "same"), rows(tmp_path / "b", "same")
    data = [
        f"data.eval_data=[{one}/eval.jsonl,{other}/eval.jsonl]",
        f"data.corpus={one}/corpus.jsonl",
        "metrics_file=new/metrics.json",
        SPY,
    ]
    Path("new").mkdir()
    Path("new/metrics.json").write_text("old " * 1000)

    run("validate", *settings, *data, "optimized_metric=val/a/same/eval/ndcg@10")

    written = json.loads(Path("new/metrics.json").read_text())
    assert list(written) == ["a/same/eval", "b/same/eval"]
    assert {"ndcg@10", "mrr@10"} <= set(written["a/same/eval"])
    assert returned == [written["a/same/eval"]["ndcg@10"]]
    assert len(repr(returned[0])) > 8  # not rounded for the table
    assert [path.name for path in Path("new").iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("data", "is a folder"),
        ("' '", "expected the path of a file"),
    ],
)
def test_a_metrics_file_that_cannot_be_is_refused_at_once(
    refused, settings, evaluation, value, sentence
):
    assert sentence in refused("validate", *settings, *evaluation, f"metrics_file={value}")


def test_verbs_return_the_metric_that_is_optimized(run, settings, evaluation, returned, refused):
    run("validate", *settings, *evaluation, SPY)
    run("fit", *settings, *evaluation, SPY, "optimized_metric=val/mine/mrr@10", "metrics_file=m")
    run("fit", *settings, SPY)

    assert 0 < returned[0] < 1
    assert returned[1] == json.loads(Path("m").read_text())["mine"]["mrr@10"]
    assert returned[2] is None
    shutil.rmtree("outputs")
    said = refused("validate", *settings, *evaluation, "optimized_metric=val/mine/ndgc@10")
    assert "no such value was logged; there are" in said
    assert "val/mine/ndcg@10" in said


def test_a_bad_job_does_not_end_the_others(run, settings, returned, capsys):
    with pytest.raises(SystemExit, match=r"failed: job 1$"):
        run("fit", *settings, "data.batch_size=2,0,4", "-m", "hydra.sweep.dir=sweep", SPY)

    said = capsys.readouterr().err
    assert "job 1 (" in said
    assert "data.batch_size=0" in said
    assert "Traceback" not in said
    assert [Path(f"sweep/{job}/checkpoints/last.ckpt").exists() for job in range(3)] == [
        True,
        False,
        True,
    ]


# -- packages


@pytest.fixture
def mined(tmp_path, monkeypatch):
    """Installed packages that leave a file behind when they are imported."""
    for folder in ("mined", "mined/sub", "mined/bare"):
        (tmp_path / "modules" / folder).mkdir(parents=True)
        (tmp_path / "modules" / folder / "train.jsonl").write_text("{}\n")
        if folder != "mined/bare":
            text = 'from pathlib import Path\nPath("boom").touch()\n'
            (tmp_path / "modules" / folder / "__init__.py").write_text(text)
    (tmp_path / "modules/mined/one.py").write_text('open("boom", "w")')
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return tmp_path / "boom"


@pytest.mark.parametrize(
    "path",
    [
        "pkg://",
        "pkg:///",
        "pkg:///train.jsonl",
        "pkg://nowhere",
        "pkg://nowhere/train.jsonl",
        "pkg://nowhere.sub/train.jsonl",
        "pkg://mined.nowhere/train.jsonl",
        "pkg://mined.one/train.jsonl",
        "pkg://mined.one.more/train.jsonl",
        "pkg://mined/nothing.jsonl",
        "pkg://mined/*.parquet",
        "pkg://mined/../modules/mined/train.jsonl",
        "pkg://mined//etc/passwd",
        "pkg://.mined/train.jsonl",
        "pkg://mined./train.jsonl",
        "pkg://mined..sub/train.jsonl",
        "pkg://mi ned/train.jsonl",
        "pkg://mined-sub/train.jsonl",
        "pkg://sys/train.jsonl",
        "pkg://json.decoder/train.jsonl",
        "pkg://\x1b[31m/train.jsonl",
        "PKG://mined/train.jsonl",
        "pkg:/mined/train.jsonl",
    ],
)
def test_a_path_into_no_package_is_one_sentence(tokenizer, mined, path):
    data = RetrievalDataModule(tokenizer, train_data=path, cache_dir=mined.parent / "cache")

    with pytest.raises((ConfigError, DataError)) as refusal:
        data.prepare_data()

    said = str(refusal.value)
    assert repr(path)[1:-1] in said
    assert "\n" not in said
    assert not mined.exists()
    assert not {name for name in sys.modules if name.startswith("mined")}


def test_a_path_into_a_package_imports_nothing(refused, tiny, mined, tokenizer):
    for package in ("mined", "mined.sub", "mined.bare"):
        path = f"pkg://{package}/train.jsonl"
        data = RetrievalDataModule(tokenizer, train_data=path, cache_dir=mined.parent / "cache")
        with pytest.raises(DataError, match="query"):  # the file was read: its row has none
            data.prepare_data()
    said = refused("fit", f"encoder={tiny}", "data.train_data=pkg://mined.nowhere/train.jsonl")

    assert "there is no package 'mined.nowhere'" in said
    assert not mined.exists()


# -- imports


def test_the_package_and_its_help_load_no_library_that_takes_long():
    script = """
import sys
import llm_embedder_data
assert not {"torch", "lightning", "transformers", "hydra", "pyarrow"} & set(sys.modules)
from llm_embedder_data.cli import main as cli
sys.argv = ["llm-embedder-data", "validate", "--help"]
cli.main()
assert not {"torch", "lightning", "transformers", "pyarrow"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
