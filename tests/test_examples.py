"""Every example runs as its docstring says: training loops on two processes, jobs that embed."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
# The command that the docstring of each example gives for two processes.
ON_TWO = {
    "fabric_loop": [sys.executable, "fabric_loop.py", "2"],
    "plain_loop": [
        *[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"],
        "plain_loop.py",
    ],
}
SAID = re.compile(r"epoch (\d): (\d+) steps, loss (\d+\.\d+)\n")


def assert_two_epochs_of(steps, written):
    (first, n_first, loss), (second, n_second, lower) = SAID.findall(written)

    assert (first, second) == ("0", "1")
    assert n_first == n_second == str(steps)  # 8 rows a task, 4 a process
    assert float(lower) < float(loss)


def test_every_example_is_tried():
    tried = {*(f"{name}.py" for name in ON_TWO), "ray_embed.py", "slurm_embed.sh"}
    tried |= {"ray_train.py", "the_loop.sh"}  # by tests/integrations and tests/cli/verbs

    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tried


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(f'{{"id": "d{i}", "text": "text {i}"}}\n' for i in range(30)))
    return path


def run_in(folder, *command, **environment):
    """Run a command with a home folder of its own; return what it printed."""
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_jobs_of_a_slurm_array_make_a_store(minilm_model, corpus, tmp_path):
    settings = [
        f"encoder={minilm_model}",
        f"data.corpus={corpus}",
        "out=store",
        "data.cache_dir=cache",
    ]
    settings.append("trainer.accelerator=cpu")
    printed = [
        run_in(
            tmp_path,
            *["bash", str(EXAMPLES / "slurm_embed.sh"), *settings],
            SLURM_ARRAY_TASK_ID=str(job),
            SLURM_ARRAY_TASK_MIN="3",
            SLURM_ARRAY_TASK_COUNT="2",
            # What Slurm sets for a job of one process, and Lightning looks at.
            **{"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "embed", "SLURM_PROCID": "0"},
            **{"SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
        )
        for job in (3, 4)
    ]

    assert "of 3 shards 2 written, 0 found, 1 still missing: store/" in printed[0]
    assert "of 3 shards 1 written, 0 found: store/" in printed[1]


@pytest.mark.slow
def test_ray_data_fills_a_store_on_a_cluster_of_two_workers(minilm_model, corpus, tmp_path):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    command = [sys.executable, str(EXAMPLES / "ray_embed.py"), minilm_model, str(corpus), "store"]

    printed = run_in(tmp_path, *command, "--tasks", "2")

    assert "2 tasks wrote 3 shards" in printed
    [folder] = (tmp_path / "store").iterdir()
    assert len(list(folder.glob("*.0*.bin"))) == 3


@pytest.fixture
def one_thread():
    """Give torch one thread: more threads on a busy machine wait for each other, for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "minilm_model")
@pytest.mark.parametrize("name", ON_TWO)
def test_an_example_trains_in_one_process(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.setattr(os, "environ", os.environ.copy())  # Fabric leaves its seed there

    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    assert_two_epochs_of(4, capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.usefixtures("minilm_model")
@pytest.mark.parametrize("name", ON_TWO)
def test_an_example_trains_in_two_processes(name):
    done = subprocess.run(
        ON_TWO[name],
        cwd=EXAMPLES,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert_two_epochs_of(2, done.stdout)
