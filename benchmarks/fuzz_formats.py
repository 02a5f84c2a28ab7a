"""Reads mutated tables and JSON documents: each must give rows, a DataError or a ConfigError.

Seed files of every layout (commas, semicolons, tabs, blanks, lines, arrays, objects; packed or not)
are changed byte by byte, and read as raw records and as canonical rows of every kind. Anything but
rows or one of the two errors is a finding: another exception, a crash, a hang, memory without
bound, a message of several lines. An unchanged file must be read as it was
written.

    python benchmarks/fuzz_formats.py --n 20000 --seed 0
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz_lines import TEXTS, mutated, outcomes, packed

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.read_rows import read_rows
from llm_embedder_data.rows.records.raw_files import RawFile

LAYOUTS = ("comma", "semicolon", "quoted tabs", "plain tabs", "blanks", "lines", "array", "object")
PACKINGS = ("", "", "", ".gz", ".zst", ".bz2", ".xz")
PIECES = (
    *(b'"', b'""', b'","', b'"\n', b'\t"', b";", b"\t", b"|", b",", b"\r", b"\r\n", b"\n\n", b", "),
    *(b"['a', 'b']", b'["a"', b"[]", b"['a' 'b']", b"\\", b"\xef\xbb\xbf", b"\x80\x04", b"<html>"),
)
NAMES = (
    ("query", "pos", "neg"),
    ("anchor", "positive", "negative"),
    ("sentence1", "sentence2", "label"),
    ("query-id", "corpus-id", "score"),
    ("id", "title", "text"),
)


def records(random_: random.Random) -> tuple[tuple[str, ...], list[list[str]]]:
    """Column names, and rows of texts; some cells are lists."""
    names = random_.choice(NAMES)
    rows = [
        [random_.choice((*TEXTS, "", "1", "0.5", "d1", "a, b", "tab\there")) for _ in names]
        for _ in range(random_.randint(1, 60))
    ]
    if random_.random() < 0.3:
        for row in rows:
            row[1] = random_.choice((json.dumps, repr))(random_.choices(TEXTS, k=2))
    return names, rows


def content_of(layout: str, random_: random.Random) -> tuple[bytes, list[Any] | None]:
    """A file in a layout, and its records; None if reading would change them."""
    names, rows = records(random_)
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    if layout in ("comma", "semicolon", "quoted tabs"):
        mark = {"comma": ",", "semicolon": ";"}.get(layout, "\t")
        into = io.StringIO()
        writer = csv.writer(into, delimiter=mark, lineterminator=random_.choice(["\n", "\r\n"]))
        writer.writerows([names, *rows])
        filled = [record for record in objects if any(map(str.strip, record.values()))]
        return into.getvalue().encode(), filled if rows[0][1][:1] != "[" else None
    if layout == "plain tabs":
        rows = [[" ".join(cell.split()) or "x" for cell in row] for row in rows]
        return "".join("\t".join(row) + "\n" for row in rows).encode(), rows
    if layout == "blanks":
        fields = [["q1", "0", f"d{n}", str(n % 3)] for n in range(len(rows))]
        return "".join(" ".join(row) + "\n" for row in fields).encode(), fields
    if layout == "lines":
        return "".join(json.dumps(record) + "\n" for record in objects).encode(), objects
    made: Any = objects if layout == "array" else {"data": objects, "x": [1, float("nan")]}
    content = json.dumps(made, indent=random_.choice([None, 1])).encode()
    return content, objects if layout == "array" else None


def case(seed: int) -> tuple[str, bytes, list[Any] | None]:
    """The file's name and content, and its records; None in their place if bytes were changed."""
    random_ = random.Random(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)]
    content, expected = content_of(layout, random_)
    packing = random_.choice(PACKINGS)
    if random_.random() < 0.1:
        return f"{seed}{packing}", packed(content, packing, random_), expected
    if random_.random() < 0.5:
        for _ in range(random_.randint(1, 3)):
            place = random_.randint(0, len(content))
            content = content[:place] + random_.choice(PIECES) + content[place:]
    else:
        content = mutated(content, random_)
    file = packed(content, packing, random_)
    if packing and random_.random() < 0.2:
        file = mutated(file, random_)
    return f"{seed}{packing}", file, None


def read(seed: int, folder: Path) -> str:
    """Read the file of a case; the outcome: ``rows``, ``error``, or a finding."""
    name, content, expected = case(seed)
    path = folder / name
    path.write_bytes(content)
    outcome = "rows"
    try:
        try:
            found = [record.value for record in RawFile(str(path))]
            if expected is not None and found != expected:
                return f"finding: {expected[:3]} was written, {found[:3]} read"
        except DataError as error:
            outcome = checked(error)
            if expected is not None:
                return f"finding: {error}"
        for kind in ("train", "eval", "corpus"):
            for policy in ("raise", "skip"):
                try:
                    for _ in read_rows(path, kind=kind, on_bad_row=policy):
                        pass
                except (DataError, ConfigError) as error:
                    if "finding" in checked(error):
                        return checked(error)
        return outcome
    except Exception:
        return "finding: " + traceback.format_exc()[-1500:]
    finally:
        path.unlink()


def checked(error: Exception) -> str:
    """Return ``error``, or a finding if the message is not fit for a terminal."""
    said = str(error)
    if len(said) > 2000 or "\n" in said:
        return f"finding: a message of {len(said)} characters: {said[:300]!r}"
    return "error"


def main() -> int:
    """Count the outcomes of many cases; return 1 if there is a finding, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="files")
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {layout: Counter() for layout in LAYOUTS}
    started, n_findings = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-formats-") as folder:
        seeds = range(options.seed, options.seed + options.n)
        for seed, outcome in outcomes(seeds, Path(folder), read):
            known = outcome in ("rows", "error")
            counts[LAYOUTS[seed % len(LAYOUTS)]][outcome if known else "finding"] += 1
            if not known:
                n_findings += 1
                print(f"file {seed}: {outcome}", flush=True)
    for layout, counted in counts.items():
        figures = ", ".join(f"{counted[name]:,} {name}" for name in ("rows", "error", "finding"))
        print(f"{layout:12} {figures}")
    print(f"{options.n:,} files in {time.monotonic() - started:.0f} s, {n_findings} findings")
    return 1 if n_findings else 0


if __name__ == "__main__":
    sys.exit(main())
