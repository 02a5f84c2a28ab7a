"""The examples in docstrings run and print what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import llm_embedder_data

HOUSE = Path(llm_embedder_data.__file__).parent
MODULES = [path for path in sorted(HOUSE.rglob("*.py")) if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path):
    name = ".".join([HOUSE.name, *path.relative_to(HOUSE).with_suffix("").parts])
    module = importlib.import_module(name.removesuffix(".__init__"))

    assert doctest.testmod(module).failed == 0
