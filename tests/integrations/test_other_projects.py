"""The installed wheel in projects of other people, each in a folder and environment of its own."""

import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

SAMPLE = "pkg://llm_embedder_data/sample"


@pytest.fixture(scope="module")
def encoder(minilm, tmp_path_factory):
    """The folder of an encoder of one small layer, with its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(clean_python, tmp_path):
    """Run Python in the clean environment and the project's folder; return what it printed."""

    def run(*arguments, python=clean_python, timeout=300):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [str(python), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


HYDRA_APP = """
import hydra

@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config):
    if config.only_compose:
        print(config.data.train_group_size, config.data.seed, config.recipe.name)
        return
    from llm_embedder_data import RetrievalDataModule

    datamodule = hydra.utils.instantiate(config.data)
    assert type(datamodule) is RetrievalDataModule
    trainer = hydra.utils.instantiate(config.trainer)
    trainer.fit(hydra.utils.instantiate(config.model), datamodule=datamodule)
    print("steps:", trainer.global_step, "seed:", datamodule.seed)

main()
"""

HYDRA_CONFIG = """
defaults:
  - llm_embedder_data/data@data: default
  - llm_embedder_data/model@model: bi_encoder
  - llm_embedder_data/recipe@recipe: bge
  - _self_

encoder: ???
seed: 7
only_compose: false
data:
  train_data: pkg://llm_embedder_data/sample/qa/train.jsonl
  batch_size: 4
  train_group_size: 2
trainer:
  _target_: lightning.Trainer
  max_steps: 2
  accelerator: cpu
  logger: false
  enable_checkpointing: false
"""


@pytest.fixture
def hydra_app(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/train.yaml").write_text(HYDRA_CONFIG)
    (tmp_path / "app.py").write_text(HYDRA_APP)


@pytest.mark.slow
@pytest.mark.usefixtures("hydra_app")
def test_a_hydra_application_finds_our_groups_and_its_own_values_win(run):
    assert run("app.py", "only_compose=true", "encoder=x") == "2 7 bge\n"


@pytest.mark.slow
@pytest.mark.usefixtures("hydra_app")
def test_a_hydra_application_finds_the_groups_of_an_editable_install(run):
    # "make test" installs the checkout so. Hydra finds plugins in folders, not by import hooks.
    found = run("app.py", "only_compose=true", "encoder=x", python=sys.executable)
    assert found == "2 7 bge\n"


@pytest.mark.slow
@pytest.mark.usefixtures("hydra_app")
def test_a_hydra_application_trains_with_our_groups(run, encoder):
    assert "steps: 2 seed: 7" in run("app.py", f"encoder={encoder}")


# Shaped as lightning-hydra-template: a train script that knows of no data module in particular.
TEMPLATE_CONFIG = """
defaults: [{data: retrieval}, _self_]
seed: 42
model: {_target_: llm_embedder_data.BiEncoder, encoder: "${data.tokenizer}"}
trainer:
  _target_: lightning.Trainer
  max_steps: 2
  accelerator: cpu
  logger: false
  enable_checkpointing: false
only_compose: false
recipe: {name: none}
"""

TEMPLATE_DATA = """
defaults: [{/llm_embedder_data/data@_here_: default}]
tokenizer: ENCODER
recipe: auto
train_data: {qa: pkg://llm_embedder_data/sample/qa/train.jsonl}
batch_size: 4
train_group_size: 2
"""


@pytest.mark.slow
def test_the_data_node_of_a_template_is_replaced_by_ours(run, encoder, tmp_path):
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/train.yaml").write_text(TEMPLATE_CONFIG)
    (tmp_path / "conf/data/retrieval.yaml").write_text(TEMPLATE_DATA.replace("ENCODER", encoder))
    (tmp_path / "app.py").write_text(HYDRA_APP)

    assert "steps: 2 seed: 42" in run("app.py")


LIGHTNING_CLI = """
from lightning.pytorch.cli import LightningCLI
from llm_embedder_data import BiEncoder, RetrievalDataModule

cli = LightningCLI(save_config_callback=None)
if cli.subcommand == "fit":
    settings = cli.datamodule.hparams
    print("steps:", cli.trainer.global_step, cli.datamodule.recipe.instruction("qa").query)
    print("limits:", settings["range_min"], settings["range_max"], settings["max_score"])
"""


@pytest.mark.slow
def test_lightning_cli_takes_the_data_module_by_name(run, encoder, tmp_path):
    (tmp_path / "cli.py").write_text(LIGHTNING_CLI)

    shown = " ".join(run("cli.py", "fit", "--data.help", "RetrievalDataModule").split())
    assert "queries per rank and step." in shown  # from the docstring
    said = run(
        *["cli.py", "fit", "--model", "BiEncoder", "--model.encoder", encoder],
        *["--data", "RetrievalDataModule", "--data.tokenizer", encoder],
        *["--data.recipe", '{name: mine, instruction: {"*": {query: "ask: ", key: ""}}}'],
        *["--data.batch_size", "4", "--data.train_group_size", "2"],
        *["--data.train_data", f"{{qa: {{path: '{SAMPLE}/qa/train.jsonl', weight: 2}}}}"],
        *["--data.range_min", "1"],
        *["--trainer.max_steps", "2", "--trainer.accelerator", "cpu"],
        *["--trainer.logger", "false", "--trainer.enable_checkpointing", "false"],
    )
    assert "steps: 2 ask: " in said
    assert "limits: 1 None None" in said


RAY_TRAIN = """
import sys
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
from ray.train.torch import TorchTrainer

from llm_embedder_data import BiEncoder, RetrievalDataModule


class Recorder(lightning.Callback):
    def __init__(self, folder, fails):
        self.folder, self.fails = Path(folder), fails

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        with open(self.folder / f"rows-{trainer.global_rank}.txt", "a") as file:
            print(batch_idx, *batch["row"].tolist(), file=file)
        failed = self.folder / "failed"
        if self.fails and batch_idx == 4 and not failed.exists():
            trainer.strategy.barrier()
            if trainer.global_rank == 0:
                failed.touch()
            raise RuntimeError("this worker fails once")


def train(encoder, folder, fails):
    last = Path(folder, "last.ckpt")
    trainer = prepare_trainer(lightning.Trainer(
        max_epochs=1, limit_train_batches=8, accelerator="cpu", logger=False,
        strategy=RayDDPStrategy(), plugins=[RayLightningEnvironment()], enable_progress_bar=False,
        callbacks=[
            ModelCheckpoint(folder, every_n_train_steps=2, save_last=True), Recorder(folder, fails)
        ],
    ))
    datamodule = RetrievalDataModule(
        encoder, "pkg://llm_embedder_data/sample/qa/train.jsonl", batch_size=2, train_group_size=2
    )
    ckpt_path = last if last.exists() else None
    trainer.fit(BiEncoder(encoder), datamodule=datamodule, ckpt_path=ckpt_path)


if __name__ == "__main__":
    encoder, *folders = sys.argv[1:]
    for fails, folder in enumerate(folders):
        Path(folder).mkdir()
        TorchTrainer(
            lambda: train(encoder, folder, bool(fails)),
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=1)),
        ).fit()
"""


@pytest.mark.slow
@pytest.mark.ranks
def test_ray_train_restarts_in_mid_epoch_as_if_nothing_had_failed(run, encoder, tmp_path):
    (tmp_path / "app.py").write_text(RAY_TRAIN)

    run("app.py", encoder, str(tmp_path / "sound"), str(tmp_path / "failing"), timeout=600)

    for rank in (0, 1):
        sound = (tmp_path / f"sound/rows-{rank}.txt").read_text().splitlines()
        failing = (tmp_path / f"failing/rows-{rank}.txt").read_text().splitlines()
        assert len(sound) == 8
        assert failing == [*sound[:5], *sound[4:]]  # from the checkpoint behind four steps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "arguments", "said"),
    [
        ("plain_loop.py", [], "epoch 1: 4 steps"),
        ("fabric_loop.py", [], "epoch 1: 4 steps"),
        ("ray_train.py", ["checkpoints"], "rank 1: 8 steps"),
    ],
)
def test_an_example_runs_outside_the_checkout(
    run, example, arguments, said, tmp_path, pytestconfig
):
    (tmp_path / example).write_text((pytestconfig.rootpath / "examples" / example).read_text())
    arguments = [str(tmp_path / argument) for argument in arguments]

    assert said in run(example, *arguments)


@pytest.mark.slow
def test_the_demo_runs_outside_the_checkout(run):
    said = run("-m", "llm_embedder_data.cli", "fit", "trainer.max_steps=2", "data.batch_size=2")

    assert "mrr@10" in said
    assert "Checkpoint: " in said
