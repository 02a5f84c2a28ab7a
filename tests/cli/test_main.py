"""The console script: verbs, flags that run nothing, imports that take no time."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from cli_cases import write_rows


def test_an_unknown_verb_names_the_known_ones(run):
    with pytest.raises(
        SystemExit,
        match=r"'fti' is not a verb: expected one of fit, .*; did you mean 'fit'",
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


def test_a_warning_of_ours_is_a_sentence_without_its_place_in_the_code(run, tiny, tmp_path):
    write_rows(tmp_path)
    with pytest.warns(UserWarning, match="name no task") as caught:
        run(
            "plan",
            f"data.tokenizer={tiny}",
            "data.train_data=mine/train.jsonl",
            "data.batch_size=2",
        )

    [warning] = [one for one in caught if "name no task" in str(one.message)]
    shown = warnings.formatwarning(
        warning.message, warning.category, warning.filename, warning.lineno
    )
    assert shown == f"WARNING: {warning.message}\n"
    assert __file__ in warnings.formatwarning("of others", UserWarning, __file__, 1)
