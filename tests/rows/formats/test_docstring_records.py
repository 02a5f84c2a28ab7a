"""The records that the docstrings of formats show are recognized as records of these formats."""

import json
import pkgutil
import re
from importlib import import_module

import pytest

from llm_embedder_data.rows import formats
from llm_embedder_data.rows.formats.format import Format
from llm_embedder_data.rows.records.raw_files import RawFile

MODULES = [
    import_module(f"{formats.__name__}.{found.name}")
    for found in pkgutil.iter_modules(formats.__path__)
]


def records_in(docstring):
    """Yield the JSON values in the literal blocks of a docstring."""
    decoder = json.JSONDecoder()
    for block in re.findall(r"::\n\n((?:    .*\n?)+)", docstring):
        lines = "\n".join(line.strip() for line in block.splitlines())
        end = 0
        while begin := re.compile(r"^[\[{](?!PREFIX)", re.MULTILINE).search(lines, end):
            value, end = decoder.raw_decode(lines, begin.start())
            yield value


def shown():
    """Yield (name of the module, its formats of files, records) for modules that show records."""
    for module in MODULES:
        of_files = [
            value
            for name, value in vars(module).items()
            if isinstance(value, Format) and f"\n{name} = Format(" in source_of(module)
        ]
        records = list(records_in(module.__doc__))
        if of_files and records:
            yield module.__name__.rpartition(".")[2], of_files, records


def source_of(module):
    with open(module.__file__, encoding="utf-8") as file:
        return file.read()


# Folders of several files, which are recognized by the names of these.
FOLDERS = {"beir", "mteb"}
SHOWN = [found for found in shown() if found[0] not in FOLDERS]


def test_most_modules_show_records():
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("name", "of_files", "records"), SHOWN, ids=[name for name, *_ in SHOWN])
def test_shown_records_are_recognized(tmp_path, name, of_files, records):
    recognized = []
    for number, record in enumerate(records):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps(record) + "\n", encoding="utf-8")
        recognized.append(any(found.recognizes(RawFile(str(path))) for found in of_files))

    # The folder of Arctic-Embed has two tables that a file alone does not show to be its own.
    assert recognized == ([False, False, True] if name == "arctic" else [True] * len(records))
