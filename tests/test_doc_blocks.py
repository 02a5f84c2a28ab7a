"""What README.md and docs/ show beside Python is right: YAML, JSON, and lines for the shell.

YAML is composed with conf/, or read as a recipe. Commands of the console are read by the console's
own parser and composed. So an unknown setting, group, option of a source or verb fails. See
tests/cli/test_commands_of_the_docs.py for what the commands do.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from lightning.pytorch import LightningModule
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from packaging.requirements import Requirement

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.cli.command_line import read_command_line
from llm_embedder_data.cli.key_checks import check_keys
from llm_embedder_data.cli.verbs import VERBS
from llm_embedder_data.config import load_config
from llm_embedder_data.config.composing import CONF_DIR, hydra_base
from llm_embedder_data.config.instantiating import check_arguments_of, target_class
from llm_embedder_data.config.recipes import load_recipe
from tests.doc_blocks import (
    PAGES,
    README,
    ROOT,
    Block,
    all_blocks,
    block_id,
    blocks_of_all_pages,
    console_commands,
    outputs,
    page_id,
    without_sweeps,
    write_yaml,
)

pytestmark = pytest.mark.usefixtures("parsed_once")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
TARGETS = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
SETTINGS_OF_SOURCES = ("train_data", "eval_data", "corpus")
# Sections of a recipe.
RECIPE = {"name", "instruction", "training", "model", "task_description"}


def sources_apart(value: Any) -> list[Any]:
    """Each source of a setting, as a setting of its own."""
    if isinstance(value, dict) and "path" not in value:
        return [{name: source} for name, source in value.items()]
    return value if isinstance(value, list) else [value]


def check_data(node: dict[str, Any], tokenizer: str) -> None:
    """Check the arguments of the data module, then each source, whose files are not there."""
    arguments = {name: value for name, value in node.items() if name != "_target_"}
    arguments["tokenizer"] = tokenizer
    RetrievalDataModule(**arguments)
    for setting in SETTINGS_OF_SOURCES:
        for source in sources_apart(arguments.get(setting)):
            if source is None:
                continue
            here = json.loads(re.sub(r"(s3|pkg)://", "missing/", json.dumps(source)))
            datamodule = RetrievalDataModule(tokenizer, **{setting: here})
            with pytest.raises(
                DataError, match=r"there is no such file|matches no file|there is nothing at this"
            ):
                datamodule.prepare_data()


def check_configuration(config: DictConfig, tokenizer: str) -> None:
    check_data(OmegaConf.to_container(config.data, resolve=True), tokenizer)
    if "model" in config:
        names = [name for name in config.model if name != "_target_"]
        check_arguments_of(target_class(config.model, LightningModule, "model"), names, "model")


def composed(block: Block, folder: Path) -> DictConfig:
    """The configuration that a block of YAML is a part of."""
    content = yaml.safe_load(block.text)
    if "defaults" not in content:
        config = load_config(["encoder=demo"])
        OmegaConf.set_struct(config, True)
        return OmegaConf.merge(
            config, content if set(content) <= set(config) else {"data": content}
        )
    # A file of a Hydra application, which finds our groups below our name. Either the top one, or
    # one of a group: then the application chooses all files of groups in the same folder.
    assert block.file_name is not None, "the first line says which file this is: # conf/train.yaml"
    (folder / "groups").mkdir()
    (folder / "groups/llm_embedder_data").symlink_to(CONF_DIR)
    conf, *place = Path(block.file_name).parts
    name = Path(place[-1]).stem
    if len(place) > 1:
        chosen = [{file.parent.name: file.stem} for file in (folder / conf).glob("*/*.yaml")]
        name = "application"
        (folder / conf / f"{name}.yaml").write_text(yaml.safe_dump({"defaults": chosen}))
    with initialize_config_dir(str(folder / conf), **hydra_base()):
        return compose(name, [f"hydra.searchpath=[file://{folder}/groups]"])


@pytest.mark.parametrize("block", blocks_of_all_pages("yaml"), ids=block_id)
def test_yaml_is_a_recipe_or_composes(block, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_yaml(block.page, tmp_path)
    content = yaml.safe_load(block.text)
    if set(content) <= RECIPE:
        load_recipe(content)
    else:
        check_configuration(composed(block, tmp_path), minilm)


@pytest.mark.parametrize(
    "text",
    ["train_data: {a: {path: a.jsonl, treshold: 4}}", "data: {batchsize: 4}", "batch_sizes: 4"],
)
def test_yaml_with_a_misspelt_key_does_not(text, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = Block("yaml", text, is_run=True, line=0, page=README)

    with pytest.raises((ConfigError, ConfigAttributeError, ConfigKeyError)):
        check_configuration(composed(block, tmp_path), minilm)


@pytest.mark.parametrize("block", blocks_of_all_pages("json"), ids=block_id)
def test_json_is_a_value_a_line(block):
    assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())


QUICK_PAGES = (README, ROOT / "docs" / "console.md")  # the commands of other pages are slow cases
COMMANDS = [(page, words) for page in PAGES for words in console_commands(page)]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        pytest.param(*command, marks=[] if command[0] in QUICK_PAGES else pytest.mark.slow)
        for command in COMMANDS
    ],
    ids=[f"{page.stem}:{' '.join(w)[:60]}" for page, w in COMMANDS],
)
def test_a_command_composes(page, words, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_yaml(page, tmp_path)
    verb, *arguments = words

    line = read_command_line(arguments)
    overrides = check_keys(line, VERBS[verb].config_name).overrides
    if line.is_multirun:
        overrides = without_sweeps(overrides)
    config = load_config(overrides, config_name=VERBS[verb].config_name)
    check_configuration(config, minilm)


def is_right(words: list[str]) -> bool:
    """Whether a line for the shell can be run as it stands."""
    program, *arguments = words
    named = [one for one in arguments if not one.startswith("-")]
    match program:
        case "llm-embedder-data":
            return arguments[0] in VERBS  # the tests above look at the rest
        case "printf" | "export":
            return True
        case "pip":
            return named[0] == "install" and all(map(is_requirement, named[1:]))
        case "make":
            return named[0] in TARGETS
        case "python" | "torchrun" | "bash":
            return (ROOT / named[0]).is_file()
    return False


def is_requirement(text: str) -> bool:
    """Whether a requirement is this package with extras that it has, or a pinned package."""
    wanted = Requirement(text)
    if wanted.name == PROJECT["name"]:
        return wanted.extras <= set(PROJECT["optional-dependencies"])
    return f"\n{wanted.name}==" in CONSTRAINTS


@pytest.mark.parametrize("block", blocks_of_all_pages("bash"), ids=block_id)
def test_lines_for_the_shell_name_what_is_there(block):
    assert [words for words in block.commands if not is_right(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_is_checked_or_says_why_not(page):
    checked = {"python", "yaml", "json", "bash"}
    left = [
        f"line {block.line}: a block of {block.kind or 'no kind'}"
        for block in all_blocks(page)
        if block.is_run and block.kind not in checked and block.text not in outputs(page).values()
    ]

    assert left == [], "mark these with <!-- not run: reason -->"
