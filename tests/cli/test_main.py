"""The console script: verbs, flags that run nothing, imports that take no time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


def test_an_unknown_verb_names_the_known_ones(run):
    with pytest.raises(
        SystemExit,
        match=r"'fti' is no verb: expected one of fit, .*; did you mean 'fit'",
    ):
        run("fti")


def test_the_version_is_told(run):
    said = run("--version")

    assert re.fullmatch(r"llm-embedder-data \d+\.\d+\S*\n", said)
    assert run("fit", "--version") == run("validate", "data.batch_size=3", "--version") == said


def test_help_and_cfg_show_without_running(run):
    assert "Train a model" in run("--help")
    assert "batch_size: 8" in run("fit", "--cfg", "job")
    assert "KEY=VALUE" in run("fit", "--help")
    assert not Path("outputs").exists()


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
