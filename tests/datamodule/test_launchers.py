"""Two ranks share each step of the plan, whoever starts them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from datamodule_cases import TRAIN, make_datamodule, opened

pytestmark = [pytest.mark.ranks, pytest.mark.slow]

HERE = Path(__file__).parent
PYTHON = [sys.executable]
TORCHRUN = [*PYTHON, "-m", "torch.distributed.run"]
ON_ONE_NODE = [*TORCHRUN, "--standalone", "--nproc-per-node=2"]
EPOCHS = 3


def finish(commands, cwd):
    """Run the commands side by side to their end; what each wrote."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with_output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [
        subprocess.Popen(command, cwd=cwd, env=environment, **with_output) for command in commands
    ]
    try:
        written = [process.communicate(timeout=170)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, text in zip(started, written, strict=True):
        assert process.returncode == 0, text[-3000:]
    return written


def assert_ranks_share_the_plan(folder, out, n_epochs=EPOCHS):
    ranks = [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]
    datamodule = opened(make_datamodule(folder))
    plan = [step for epoch in range(n_epochs) for step in datamodule.plan(epoch)]

    for rank in ranks:
        assert [dataset for dataset, _ in rank] == [dataset for dataset, _ in plan]
    together = [first + second for (_, first), (_, second) in zip(*ranks, strict=True)]
    assert together == [rows.tolist() for _, rows in plan]


@pytest.mark.parametrize(
    ("launcher", "strategy"),
    [
        ("lightning", "auto"),
        ("lightning", "ddp"),
        ("lightning", "ddp_spawn"),
        ("lightning", "ddp_fork"),
        ("lightning", "ddp_notebook"),
        ("torchrun", "auto"),
        ("torchrun", "ddp"),
    ],
)
def test_ranks_share_each_step_whoever_starts_them(folder, tmp_path, launcher, strategy):
    start = {"lightning": PYTHON, "torchrun": ON_ONE_NODE}[launcher]
    settings = {"devices": 2, "strategy": strategy, "max_epochs": EPOCHS}
    script = [str(HERE / "launched.py"), str(folder), str(tmp_path), json.dumps(settings)]

    finish([[*start, *script]], tmp_path)

    assert_ranks_share_the_plan(folder, tmp_path)


def test_ranks_on_two_nodes_share_each_step(folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    start = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d"]
    settings = {"devices": 1, "num_nodes": 2, "strategy": "ddp", "max_epochs": EPOCHS}
    script = [str(HERE / "launched.py"), str(folder), str(tmp_path), json.dumps(settings)]

    finish([[*start, f"--rdzv-endpoint={endpoint}", *script] for _ in range(2)], tmp_path)

    assert_ranks_share_the_plan(folder, tmp_path)


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_ranks_of_the_console_script_share_each_step(folder, minilm_model, tmp_path, launcher):
    script = str(Path(sys.executable).with_name("llm-embedder-data"))
    late = ["bash", "-c", 'sleep $((2 * LOCAL_RANK)); exec "$0" "$@"', script]
    start = {"lightning": [script], "torchrun": [*ON_ONE_NODE, "--no-python", *late]}[launcher]
    train = ", ".join(f"{name}: {folder / name / 'train.jsonl'}" for name in TRAIN)
    data = {"data.train_data": f"{{{train}}}", "data.batch_size": 2, "data.seed": 5}
    model = {"model._target_": "launched.Writer", "+model.out": tmp_path, "encoder": minilm_model}
    ranks = {"trainer.devices": 2, "trainer.strategy": "ddp", "trainer.accelerator": "cpu"}
    more = {"trainer.max_epochs": EPOCHS, "export": False}
    overrides = [f"{key}={value}" for key, value in (data | model | ranks | more).items()]

    (written,) = finish([[*start, "fit", *overrides]], tmp_path)

    assert_ranks_share_the_plan(folder, tmp_path)
    assert written.count("Checkpoint: ") == 1  # said by rank 0 alone
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "rank0.json", "rank1.json"}
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1  # though ranks start seconds apart
