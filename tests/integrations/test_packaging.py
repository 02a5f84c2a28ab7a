"""The wheel holds everything that the package needs at run time."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent

_COMPOSE = """
import llm_embedder_data.conf
from hydra import compose, initialize_config_module
from llm_embedder_data.config import load_config
from llm_embedder_data.config.recipes import load_recipe, recipe_names
from llm_embedder_data.rows.sources.sources import resolve_sources

assert llm_embedder_data.conf.__path__[0].startswith({site!r}), llm_embedder_data.conf.__path__
with initialize_config_module("llm_embedder_data.conf", version_base="1.3"):
    assert compose("config", ["recipe=bge"]).recipe.name == "bge"
config = load_config(["experiment=demo"])
for entries in (config.data.train_data, config.data.eval_data, config.data.corpus):
    for source in entries.values():
        path = source if isinstance(source, str) else source.path
        assert resolve_sources(path, setting="x", fields=())[0].files[0].startswith({site!r})
print([load_recipe(name).name for name in recipe_names()])
"""


def test_the_wheel_holds_every_module_and_yaml_the_sample_and_the_type_marker(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())

    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"llm_embedder_data/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "llm_embedder_data").rglob("*.py"):
        assert path.relative_to(ROOT).as_posix() in names  # see packages in pyproject.toml
    for path in (ROOT / "llm_embedder_data/sample").rglob("*.*"):
        assert path.relative_to(ROOT).as_posix() in names
    assert "llm_embedder_data/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_configuration_composes_from_the_wheel_in_another_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::UserWarning:llm_embedder_data",
            "-c",
            _COMPOSE.format(site=str(site)),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['bge', 'e5', 'instructor', 'llm-embedder']"
