"""The table of verbs and the files of this folder are one list."""

from pathlib import Path

import pytest

from llm_embedder_data.cli import verbs
from llm_embedder_data.config.composing import CONF_DIR


def test_every_verb_has_a_module_and_every_module_is_a_verb():
    modules = {path.stem for path in Path(verbs.__path__[0]).glob("*.py")} - {"__init__"}

    assert modules == set(verbs.VERBS)


@pytest.mark.parametrize("verb", verbs.VERBS.values(), ids=lambda verb: verb.name)
def test_what_the_table_says_of_a_verb_is_there(verb):
    assert callable(verb.load())
    assert (CONF_DIR / f"{verb.config_name}.yaml").exists()
    assert verb.summary.endswith(".")
