"""What a user does first, in an environment that pip made of the wheel and nothing else.

The other tests of this folder share the packages that are installed here, so they cannot see that
one is missing in what the wheel asks for. Skipped if pip reaches no package index.
"""

import os
import subprocess
import sys

import pytest

from tests.doc_blocks import README, ROOT, blocks, console_commands, outputs, written_files

pytestmark = pytest.mark.slow

# Beside the wheel: what docs/from-sentence-transformers.md and docs/from-llm-embedder.md ask for.
TRAINERS = ["sentence-transformers", "accelerate"]


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The folder of Python and of the console script in a new environment."""
    folder = tmp_path_factory.mktemp("new")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--no-input"]
    pip += ["-c", str(ROOT / "constraints.txt")]
    # One small package tells whether there is an index at all. After it, an error is a fault.
    tried = subprocess.run(
        [*pip, "--no-deps", "--retries", "0", "filelock"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"pip reaches no package index: {tried.stderr.strip().splitlines()[-1]}")
    wanted = [f"{wheel}[demo]", *TRAINERS]
    done = subprocess.run(
        [*pip, *wanted], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def run(scripts, tmp_path):
    """Run a program of the new environment in an empty folder; return what it printed."""

    def run(program, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
        environment["PATH"] = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        for name in ("PYTHONPATH", "VIRTUAL_ENV", "HF_DATASETS_CACHE"):
            environment.pop(name, None)
        done = subprocess.run(
            [str(scripts / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.replace(f"{tmp_path}/", "")

    return run


@pytest.fixture
def csv(tmp_path):
    """The file that README writes."""
    for line in written_files(README):
        subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)


def test_what_is_installed_fits_together(run):
    assert "No broken requirements found" in run("python", "-m", "pip", "check")
    assert run(
        "python", "-c", "import torch, llm_embedder_data as package; print(package.__file__)"
    )


@pytest.mark.usefixtures("csv")
def test_readme_shows_and_trains_on_the_csv(run):
    shown, trained = (block.text for block in blocks(README, "python"))

    said = run("python", "-c", shown + trained)

    assert all(text in said for text in outputs(README).values())
    assert "rows name no task" in said  # the report comes last


@pytest.mark.usefixtures("csv")
def test_readme_s_console_shows_the_csv(run):
    command = next(words for words in console_commands(README) if words[0] == "inspect")

    assert "may my dog come along?" in run("llm-embedder-data", *command)


def test_the_demo_trains_and_saves_an_encoder(run, tmp_path):
    few = ["trainer.max_steps=2", "data.batch_size=2", "validate_before=false"]
    said = run("llm-embedder-data", "fit", *few)

    assert "mrr@10" in said
    assert list(tmp_path.glob("outputs/*/*/encoder/model.safetensors"))


@pytest.mark.parametrize("page", ["from-sentence-transformers", "from-llm-embedder"])
def test_another_trainer_trains_on_the_batches(run, page):
    code = "".join(block.text for block in blocks(ROOT / f"docs/{page}.md", "python"))

    assert "train_loss" in run("python", "-c", code)
