"""README's first screen, as printed, from the wheel in a folder and environment of its own."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.doc_blocks import README, blocks, written_files

PROJECT = tomllib.loads((Path(README).parent / "pyproject.toml").read_text())["project"]


def test_the_line_that_installs_names_the_package_and_an_extra():
    lines = [line for block in blocks(README, "bash") for line in block.text.splitlines()]
    first = next(line for line in lines if line.startswith("pip "))

    extra = first.removeprefix(f"pip install '{PROJECT['name']}[").removesuffix("]'")
    assert extra in PROJECT["optional-dependencies"]


def test_five_lines_lead_from_the_installation_to_the_first_batch():
    python = blocks(README, "python")[0].text

    assert 1 + len([line for line in python.splitlines() if line]) == 5


@pytest.mark.usefixtures("minilm")
@pytest.mark.slow
def test_readme_s_first_batch_is_the_one_it_shows(clean_python, tmp_path):
    for line in written_files(README):
        subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    done = subprocess.run(
        [str(clean_python), "-c", blocks(README, "python")[0].text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert blocks(README, "text")[0].text in done.stdout.replace(f"{tmp_path}/", "")
