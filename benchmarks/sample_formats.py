"""Writes a page on what is read from each file of a folder of samples, and on the fuzzers.

Each file is read as training rows, eval rows and a corpus, with ``on_bad_row="skip"`` and together
with the files of its folder that are called corpus, queries or qrels. A folder in a format that
consists of a folder (BEIR, MTEB, Arctic, ...) is one line. The page has names of files, counts and
reasons, and nothing of the files' content.

    python benchmarks/sample_formats.py --data FOLDER [--fuzz 2000]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from measuring import machine, table

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.formats.detection import format_of_folder
from llm_embedder_data.rows.schema.canonical_rows import Kind

HERE = Path(__file__).parent
KINDS: tuple[Kind, ...] = ("train", "eval", "corpus")
FUZZERS = ("fuzz_format_readers.py", "fuzz_formats.py", "fuzz_lines.py", "fuzz_tables.py")
_NO_DATA = (".md", ".txt.license", ".lock", ".part")
_BESIDE = {
    "corpus": re.compile(r"^(corpus|collection|documents?|docs|passages|wiki_corpus)(?![a-z])"),
    "queries": re.compile(r"(^|[-_.])queries\b"),
    "qrels": re.compile(r"(^|[-_.])qrels\b"),
}
# From the first of these on, a message may quote the content of a file.
_QUOTES = re.compile(r"[:'\"(\[{]| such as | \d")


class Read(NamedTuple):
    """What was read of a file as one kind of rows.

    Attributes:
        formats: the formats that were found.
        n_rows: number of rows.
        dropped: number of records that gave no row, by reason.
        refused: why nothing could be read; empty if something was read.
    """

    formats: tuple[str, ...] = ()
    n_rows: int = 0
    dropped: Mapping[str, int] = {}
    refused: str = ""


def samples(folder: Path) -> Iterator[Path]:
    """The files of a folder, and the folders that are one dataset, in the order of names."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith(_NO_DATA):
            continue
        if path.is_dir() and format_of_folder(path) is None:
            yield from samples(path)
        else:
            yield path


def beside(path: Path) -> dict[str, Any]:
    """Settings that name the files of the same folder to which ids of rows may refer."""
    files = [one for one in sorted(path.parent.iterdir()) if one.is_file() and one != path]
    found = {}
    for setting, pattern in _BESIDE.items():
        names = [str(one) for one in files if pattern.search(one.name)]
        if names and not pattern.search(path.name):
            found[setting] = names[0]
    return found


def read(path: Path, kind: Kind, cache: Path) -> Read:
    """Read a file as one kind of rows."""
    settings = {} if path.is_dir() or kind == "corpus" else beside(path)
    reader = RowReader(str(path), kind=kind, on_bad_row="skip", cache_dir=cache, **settings)
    try:
        n_rows = sum(1 for _ in reader.rows())
    except (DataError, ConfigError) as error:
        return Read(refused=_reason(error))
    of_rows = [one for one in reader.report if str(path) in {name for name, _ in one.files}]
    found = of_rows if path.is_file() else reader.report
    dropped: Counter[str] = Counter()
    for one in found:
        for why, n in one.left_out.items():
            dropped[_said(why)] += n
    return Read(tuple(dict.fromkeys(one.format for one in found)), n_rows, dropped)


def _reason(error: DataError | ConfigError) -> str:
    """The message of an error without the place, and without content of the file."""
    message = str(error)
    if isinstance(error, DataError) and error.path is not None:
        message = message.partition(one_line(error.path))[2].partition(": ")[2]
    return _said(re.sub(r"=\S+", "=...", message))


def _said(reason: str) -> str:
    return _QUOTES.split(reason.strip().lstrip(": "))[0].strip(" ,;") or "another reason"


def lines_of(folder: Path) -> Iterator[list[str]]:
    """A line of the table for each sample."""
    with tempfile.TemporaryDirectory(prefix="sample-formats-") as cache:
        for path in samples(folder):
            found = {kind: read(path, kind, Path(cache)) for kind in KINDS}
            formats = dict.fromkeys(name for one in found.values() for name in one.formats)
            best = next((one for one in found.values() if one.n_rows), found["train"])
            yield [
                f"{path.relative_to(folder)}{'/' * path.is_dir()}",
                ", ".join(formats) or "-",
                *(f"{found[kind].n_rows:,}" if found[kind].n_rows else "-" for kind in KINDS),
                "; ".join(f"{n:,} {why}" for why, n in best.dropped.items()) or "-",
                "" if any(one.n_rows for one in found.values()) else best.refused or "no row",
            ]


def fuzz(script: str, n_files: int) -> list[str]:
    """A line of the table of fuzzers: the last line that a script prints."""
    done = subprocess.run(
        [sys.executable, script, "--n", str(n_files)],
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
    print(script, last, flush=True)
    return [f"`python benchmarks/{script} --n {n_files}`", last]


def main() -> None:
    """Read all samples, run the fuzzers, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of samples")
    parser.add_argument("--fuzz", type=int, default=2000, help="files of each fuzzer; 0: none")
    options = parser.parse_args()
    rows = list(lines_of(options.data.resolve()))  # reports name files by their absolute paths
    n_read = sum(not row[-1] for row in rows)
    header = ["file", "format", "train", "eval", "corpus", "left out", "refused"]
    fuzzed = [fuzz(script, options.fuzz) for script in FUZZERS] if options.fuzz else []
    findings = f"\n## Mutated files\n\n{table(['command', 'its last line'], fuzzed)}\n"
    (HERE / "results" / "formats.md").write_text(
        f"""# Files of other formats

{machine(["pyarrow", "orjson", "datasets"])}

`python benchmarks/sample_formats.py --data FOLDER --fuzz {options.fuzz}` on a folder of small files
in the shapes of public formats: {len(rows)} files and folders, of which {n_read} are read. The
numbers are rows as training data, as eval data and as a corpus, with `on_bad_row=skip`, each file
beside those of its folder that are called corpus, queries or qrels. What is left out is that of the
first of these; a refusal is one sentence, here its beginning. A file of ids alone, such as a run
without its corpus, is refused.

{table(header, rows)}
{findings if fuzzed else ""}"""
    )
    print(f"{len(rows)} samples, {n_read} read")


if __name__ == "__main__":
    main()
