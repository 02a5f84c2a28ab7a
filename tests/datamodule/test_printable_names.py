"""Whatever a name holds, what is shown of it is text."""

import io
import unicodedata
import warnings

import pytest
from datamodule_cases import write
from rich.console import Console

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.inspection.plan_view import plan_summary, plan_table, step_rows, step_text

NAME = "\x1b[31mRED\x1b[0m\x07\x9b1m\u202e\rcut\nhere"


def row(i, **more):
    return {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}"], "task": "qa"} | more


def shown_of(tmp_path, tokenizer, data, **arguments):
    """What a user sees of a data module: its report and warnings, or its error."""
    settings = {"recipe": "bge", "batch_size": 2, "train_group_size": 2, "num_workers": 0}
    settings |= {"cache_dir": tmp_path / "cache"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            datamodule = RetrievalDataModule(tokenizer, train_data=data, **(settings | arguments))
            datamodule.prepare_data()
            datamodule.setup("fit")
            seen = [str(datamodule.report())]
        except (ConfigError, DataError) as error:
            seen = [str(error)]
    return seen + [str(one.message) for one in caught]


def cases(name):
    """What a user may give with a name of theirs in it: files to write, and arguments."""
    rows = [row(i) for i in range(8)]
    unnamed = [row(i, task=None) for i in range(8)]
    named = [row(i, task=name) for i in range(8)]
    several = [row(i, task=name if i % 2 else "b") for i in range(8)]
    bad = [*rows, {"query": name, "pos": name, "neg": name}, {"query": [name], "task": name}]
    files = {"rows": rows, "unnamed": unnamed, "named": named, "several": several, "bad": bad}
    files["corpus"] = [{name: "x", "text": "y"}] * 3
    files["texts"] = [{"text": "y"}]
    files["eval"] = [{"query": "q", "task": "qa", "pos_index": [0, 9]}]
    scores_needed = {"instruction": {"*": {}}, "training": {name: {"select_positive": "teacher"}}}
    template = "{" + name.replace("[", "") + "}"
    arguments = {
        "dataset": {"data": {name: "rows"}},
        "dataset with a note": {"data": {name: "unnamed"}},
        "small dataset": {"data": {name: "rows", "b": "bad"}, "small_datasets": "drop"},
        "too small": {"data": {name: "rows"}, "batch_size": 50},
        "twice": {"data": {name: "several", f"{name}:b": "rows"}},
        "task": {"data": {"m": "named"}},
        "tasks": {"data": {"m": "several"}},
        "unknown task": {"data": {"m": "named"}, "recipe": "llm_embedder"},
        "task of the source": {"data": {"m": {"path": "unnamed", "task": name}}},
        "default task": {"data": {"m": "unnamed"}, "default_task": name},
        "scores of a task": {"data": {"m": "named"}, "recipe": scores_needed},
        "bad values": {"data": {"m": "bad"}},
        "skipped values": {"data": {"m": "bad"}, "on_bad_row": "skip"},
        "file": {"data": {"m": name}},
        "key of a source": {"data": {"m": {"path": "rows", name: "x"}}},
        "column": {"data": {"m": {"path": "bad", "pos": name}}},
        "columns": {"data": {"m": {"path": "rows", "pos": name, "neg": name}}},
        "weight": {"data": {"m": {"path": "rows", "weight": name}}},
        "recipe": {"data": {"m": "rows"}, "recipe": name},
        "recipe's name": {
            "data": {"m": "rows"},
            "recipe": {"name": name, "instruction": {"a": {}}},
        },
        "argument": {"data": {"m": "rows"}, "organize_method": name},
        "tokenizer": {"data": {"m": "rows"}, "tokenizer": name},
        "template": {"data": None, "corpus": "corpus", "key_template": template},
        "other fields": {"data": None, "corpus": "corpus", "key_template": "{zzz}"},
        "corpus": {"data": None, "corpus": {name: "corpus"}, "eval_data": {name: "eval"}},
        "corpora": {"data": None, "corpus": {name: "texts", "b": "texts"}, "eval_data": "eval"},
    }
    return files, arguments


def with_paths(value, paths):
    if isinstance(value, dict):
        return {key: with_paths(one, paths) for key, one in value.items()}
    return paths.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize("case", cases(NAME)[1])
def test_no_name_reaches_a_terminal_raw(tmp_path, minilm, case):
    files, arguments = cases(NAME)
    paths = {name: str(write(tmp_path / f"{name}.jsonl", rows)) for name, rows in files.items()}
    own = arguments[case]
    sources = {name: with_paths(own.pop(name, None), paths) for name in ("eval_data", "corpus")}
    data, tokenizer = with_paths(own.pop("data"), paths), own.pop("tokenizer", minilm)
    shown = "\n".join(shown_of(tmp_path, tokenizer, data, **sources, **own))

    assert r"\x1b" in shown  # else nothing of the name is shown
    assert "cut\nhere" not in shown
    raw = {c for c in shown if unicodedata.category(c) == "Cc" or c == "\u202e"}
    assert raw <= {"\n"}


def test_the_plan_of_such_names_is_text_too(tmp_path, minilm):
    path = write(tmp_path / "rows.jsonl", [row(i, task=NAME) for i in range(8)])
    datamodule = RetrievalDataModule(
        minilm, train_data={NAME: str(path)}, recipe="bge", batch_size=2, cache_dir=tmp_path
    )
    datamodule.setup("fit")
    plan, sets = datamodule.plan(), datamodule.train_sets()
    console = Console(file=io.StringIO(), width=200, markup=False)
    console.print(plan_table(plan_summary(plan, sets)))
    shown = console.file.getvalue() + step_text(step_rows(plan, sets, 0))

    assert shown.count(r"\x1b[31mRED") >= 3
    assert {c for c in shown if unicodedata.category(c) == "Cc"} == {"\n"}
    assert "cut\nhere" not in shown
