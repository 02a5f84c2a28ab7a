"""The house: imports point down, and heavy libraries stay in the rooms that need them."""

import ast
from pathlib import Path

import pytest

import llm_embedder_data

HOUSE = Path(llm_embedder_data.__file__).parent

FLOOR = {"config": 0, "files": 0, "file_errors": 0, "platforms": 0, "sealed": 0}
FLOOR |= {"hashing": 0, "recipes": 0, "rows": 0, "conf": 0, "batches": 1}
FLOOR |= {"report": 2, "ranks": 2, "resume": 2, "arguments": 2, "loaders": 2, "evaluation": 2}
FLOOR |= {"printable": 0, "conventions": 0, "parcels": 2}
FLOOR |= {"state_checks": 2, "batch_size_search": 2, "plain_settings": 2, "descriptions": 2}
FLOOR |= {
    "building": 2,
    "clock": 2,
    "datamodule": 2,
    "training": 3,
    "compat": 3,
    "inspection": 3,
    "demo": 3,
    "cli": 4,
}
FLOOR |= {"checkpoints": 3, "command_line": 3, "key_help": 3, "metrics_file": 3, "verbs": 3}
FLOOR |= {"__init__": 5, "__main__": 5}
ONLY_IN = {
    "lightning": {"datamodule", "training", "cli", "verbs", "checkpoints"},
    "hydra": {"config", "cli", "verbs", "command_line"},
}


def imports_of(path):
    """Dotted names that a file imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize(
    "path", sorted(HOUSE.rglob("*.py")), ids=lambda path: str(path.relative_to(HOUSE))
)
def test_imports_point_down(path):
    room = path.relative_to(HOUSE).with_suffix("").parts[0]

    for name in imports_of(path):
        top, *rest = name.split(".")
        if top == "llm_embedder_data":  # a name of the package itself comes from __init__
            floor = FLOOR.get(rest[0], FLOOR["__init__"])
            assert floor <= FLOOR[room], f"{path.name} reaches up to {name}"
        assert room in ONLY_IN.get(top, {room}), f"{path.name} may not import {top}"


def test_every_module_has_a_floor():
    rooms = {path.relative_to(HOUSE).with_suffix("").parts[0] for path in HOUSE.rglob("*.py")}

    assert rooms <= set(FLOOR)


def test_no_module_reads_global_randomness():
    for path in HOUSE.rglob("*.py"):
        names = {name.split(".")[0] for name in imports_of(path)}
        assert "random" not in names, f"{path.name} imports random"
