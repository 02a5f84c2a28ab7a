"""docs/private-hooks.md lists each private name of another library that the package uses."""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

import llm_embedder_data
from llm_embedder_data import ConfigError
from llm_embedder_data.core.tried_versions import TRIED_VERSIONS
from llm_embedder_data.datamodule.resume.lightning_internals import check_lightning

PACKAGE = "llm_embedder_data"
HOUSE = Path(llm_embedder_data.__file__).parent
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/private-hooks.md"

PRIVATE = re.compile(r"_[A-Za-z]\w*(?<!_)")
DOTTED = re.compile(r"[A-Za-z]\w*(\.\w+)*\._[A-Za-z]\w*(?<!_)")
VARIABLE = re.compile(r"RANK|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@cache
def trees() -> dict[str, ast.Module]:
    """The package's modules by path, ``cli/main.py``."""
    return {
        path.relative_to(HOUSE).as_posix(): ast.parse(path.read_text())
        for path in sorted(HOUSE.rglob("*.py"))
    }


def table(heading: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading, the header left out."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def is_of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def is_of_stdlib(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in sys.stdlib_module_names


def names_defined_in(tree: ast.Module) -> set[str]:
    """Functions, classes, variables, and attributes that are set on ``self``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if is_of_self(node) else set()
    return names


@cache
def inherited_names(path: str) -> set[str]:
    """Private names in the libraries' classes that a module's classes are derived from."""
    module = importlib.import_module(
        ".".join([PACKAGE, *Path(path).with_suffix("").parts]).removesuffix(".__init__")
    )
    bases = {
        base
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__
        for base in found.__mro__
    }
    names: set[str] = set()
    for base in bases:
        if base.__module__.partition(".")[0] in {PACKAGE, *sys.stdlib_module_names}:
            continue
        with suppress(OSError, TypeError):  # a class of C has no source
            names |= names_defined_in(ast.parse(textwrap.dedent(inspect.getsource(base))))
    return names


def private_names(tree: ast.Module) -> Iterator[str]:
    """Private names that a module uses: attributes, imports, and names in strings."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not is_of_stdlib(node):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            names = [str(getattr(node.args[1], "value", ""))]
        elif isinstance(node, ast.Constant) and DOTTED.fullmatch(str(node.value)):
            names = [node.value.rpartition(".")[2]]
        yield from filter(PRIVATE.fullmatch, names)


def test_every_private_name_of_another_library_is_listed_with_its_modules():
    own = set().union(*map(names_defined_in, trees().values()))
    used = {
        (name, path)
        for path, tree in trees().items()
        for name in private_names(tree)
        if path != "datamodule/resume/lightning_internals.py"
        and (name not in own or name in inherited_names(path))
    }

    assert used == {(row[0].strip("`"), row[2].strip("`")) for row in table("Private names")}


def test_every_environment_variable_is_listed():
    used = {
        node.value
        for tree in trees().values()
        if "environ" in ast.unparse(tree)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value))
    }

    assert used - {"PYTHONPATH"} == {row[0].strip("`") for row in table("Environment variables")}


HEADINGS = (
    "Private names",
    "Public names that no documentation promises",
    "Messages known by their words",
    "Environment variables",
)


@pytest.mark.parametrize("heading", HEADINGS)
def test_what_is_listed_is_in_the_module(heading):
    for name, library, module, *_ in table(heading):
        last = name.strip("`") if " " in name else name.strip("`").rpartition(".")[2]
        assert last in (HOUSE / module.strip("`")).read_text(), f"{name} is not in {module}"
        assert library in {*TRIED_VERSIONS, "tokenizers", "GitHub Actions", "Slurm"}


@pytest.mark.parametrize("heading", HEADINGS[:3])
def test_the_tests_that_are_listed_exist(heading):
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for *_, last in table(heading):
        for name in re.findall(r"`(test_\w+)`", last):
            assert f"def {name}(" in tests, name


def test_the_page_and_the_package_name_the_same_versions():
    versions = PAGE.read_text().partition("## ")[0]
    listed = dict(re.findall(r"^\| (\S+) \| (\d[^|]*?) \|", versions, re.MULTILINE))

    assert listed == TRIED_VERSIONS


def trainer_like():
    """The attributes of a trainer that the data module reads."""
    current = SimpleNamespace(ready=0, started=0, processed=0, completed=0)
    progress = SimpleNamespace(
        total=SimpleNamespace(processed=0), current=current, is_last_batch=False
    )
    epoch_loop = SimpleNamespace(
        batch_progress=progress,
        max_steps=-1,
        restarting=False,
        restarted_on_train_batch_end=False,
    )
    fit_loop = SimpleNamespace(
        epoch_loop=epoch_loop,
        epoch_progress=SimpleNamespace(current=current),
        restarted_mid_epoch=False,
        reset_restart_stage=lambda: None,
        _combined_loader=None,
    )
    return SimpleNamespace(fit_loop=fit_loop)


def test_a_lightning_that_counts_elsewhere_is_refused():
    check_lightning(trainer_like())
    without, of_another_type = trainer_like(), trainer_like()
    del without.fit_loop._combined_loader
    of_another_type.fit_loop.epoch_loop.batch_progress.current.processed = None

    with pytest.raises(
        ConfigError,
        match=r"lightning 2\.\S+ is not as this package needs it: Trainer\.fit_loop\."
        r"_combined_loader is missing\. The versions tried are 2\.6\.0 and 2\.6\.6",
    ):
        check_lightning(without)
    with pytest.raises(ConfigError, match=r"current\.processed is None, where int is expected"):
        check_lightning(of_another_type)
