"""Every example runs as its docstring says, in one process and in two."""

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


def test_every_example_is_tried_on_two_processes():
    # Ray's have tests of their own.
    examples = {path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith("ray_")}
    assert examples == set(ON_TWO)


@pytest.fixture
def one_thread():
    """Give torch one thread: more threads on a busy machine wait for each other, for minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread", "minilm")
@pytest.mark.parametrize("name", ON_TWO)
def test_an_example_trains_in_one_process(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.setattr(os, "environ", os.environ.copy())  # Fabric leaves its seed there

    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    assert_two_epochs_of(4, capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.usefixtures("minilm")
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
