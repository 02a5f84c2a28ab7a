"""The house: each module has a room, imports point down, slow libraries stay in few rooms."""

import ast
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

import llm_embedder_data

PACKAGE = "llm_embedder_data"
HOUSE = Path(llm_embedder_data.__file__).parent

# The rooms, highest first. A room imports from lower lines only; rooms on the same line do not
# import each other.
FLOORS = [
    "__init__",
    "cli",
    "callbacks compat",
    "datamodule training",
    "datamodule.loading training.export",
    "datamodule.ranks training.evaluation",
    "datamodule.open_data datamodule.resume training.encoder",
    "datamodule.settings training.data_module_protocols",
    "mining inspection",
    "batches.collator",
    "batches.token_cache",
    "batches.groups",
    "batches.plan batches.tokens",
    "rows",
    "rows.joins rows.selection",
    "rows.corpora",
    "rows.source_rows",
    "rows.foreign_rows",
    "rows.side_cars rows.streaming",
    "rows.sources",
    "rows.formats",
    "rows.passages.passage_building",
    "rows.records rows.faults",
    "rows.schema",
    "rows.passages rows.columns",
    "rows.files",
    "rows.settings",
    "demo config",
    "core conf",
]
FLOOR = {room: n for n, rooms in enumerate(reversed(FLOORS)) for room in rooms.split()}

# The only rooms that may import a library that is slow to import, or another framework.
ONLY_IN = {
    "lightning": {"datamodule", "training", "callbacks", "cli"},
    "hydra": {"config", "cli"},
    "sentence_transformers": {"compat", "training"},
}

MODULES = sorted(HOUSE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


def room_of(name: str) -> str | None:
    """Return the innermost room of a dotted name, which starts below the package's own name."""
    parts = name.split(".")
    rooms = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((room for room in rooms if room in FLOOR), None)


def is_face(path: Path) -> bool:
    """Return whether a file is the empty ``__init__.py`` of a folder of rooms."""
    return path.name == "__init__.py" and not path.read_text().strip()


@cache
def imports_of(path: Path) -> list[str]:
    """Return the dotted names that a file imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_every_module_has_a_room():
    homeless = [dotted(path) for path in MODULES if not (room_of(dotted(path)) or is_face(path))]

    assert homeless == []  # they are in no room of FLOORS


def is_forbidden(room: str, name: str) -> bool:
    """Return whether a module of a room may not import a name."""
    top, _, rest = name.partition(".")
    if top != PACKAGE:
        return top in ONLY_IN and room.partition(".")[0] not in ONLY_IN[top]
    imported = room_of(rest) or "__init__"  # a name of the package itself
    return imported != room and FLOOR[imported] >= FLOOR[room]


def test_imports_point_down():
    forbidden = [
        f"{dotted(path)} imports {name}"
        for path in MODULES
        if (room := room_of(dotted(path)))
        for name in imports_of(path)
        if is_forbidden(room, name)
    ]

    assert forbidden == []  # imports from rooms above, or of slow libraries


def test_every_folder_of_the_package_is_packed_into_the_wheel():
    settings = tomllib.loads((HOUSE.parent / "pyproject.toml").read_text())
    folders = {".".join(path.parent.relative_to(HOUSE.parent).parts) for path in MODULES}

    assert folders - set(settings["tool"]["setuptools"]["packages"]) == set()


def test_no_room_imports_itself_in_a_circle():
    imports = {
        dotted(path).removesuffix(".__init__"): {
            name.partition(".")[2] for name in imports_of(path) if name.startswith(f"{PACKAGE}.")
        }
        for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module in done:
            return
        for name in imports[module]:
            found = name if name in imports else name.rpartition(".")[0]
            if found in imports and found != module:
                visit(found, (*above, module))
        done.add(module)

    for module in imports:
        visit(module, ())


def test_no_module_reads_global_randomness():
    for path in MODULES:
        names = {name.split(".")[0] for name in imports_of(path)}
        assert "random" not in names, f"{dotted(path)} imports random"


# A dot that stands for any sign where the message has a dot, as in match="data.batch_size".
UNESCAPED_DOT = re.compile(r"(?<!\\)\.(?![*+?])")


def unescaped_dots(path: Path) -> list[str]:
    """Return the places of a file of tests where an expected message has one."""
    if "match=" not in path.read_text():
        return []
    places = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.keyword) and node.arg == "match"):
            continue
        parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
        places += [
            f"{path.stem}, line {part.lineno}: {part.value!r}"
            for part in parts
            if isinstance(part, ast.Constant) and UNESCAPED_DOT.search(part.value)
        ]
    return places


def test_dots_in_expected_messages_are_escaped():
    assert [place for path in TESTS for place in unescaped_dots(path)] == []


def test_hooks_before_a_commit_run_what_the_makefile_runs():
    root = Path(__file__).parent.parent
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)

    for repository in hooks:
        assert repository["repo"] == "local"  # nothing is downloaded
        for hook in repository["hooks"]:
            assert hook["entry"].removeprefix("make ") in targets


# Names that only programs outside the package use.
FOR_OTHER_PROGRAMS: set[str] = {"RequeueBetweenSteps"}  # conf/callbacks names it


def test_every_function_class_and_constant_is_used():
    """A name that occurs once in the package and the benchmarks is defined and never used."""
    benchmarks = (Path(__file__).parent.parent / "benchmarks").glob("*.py")
    texts = (path.read_text() for path in [*MODULES, *benchmarks])
    n_times = Counter(word for text in texts for word in re.findall(r"\w+", text))
    defined = {
        name: path
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        for name in names_of(node)
        if not name.startswith("__")
    }

    unused = [name for name in defined.keys() - FOR_OTHER_PROGRAMS if n_times[name] == 1]
    assert not unused, [f"{dotted(defined[name])}.{name}" for name in unused]


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
