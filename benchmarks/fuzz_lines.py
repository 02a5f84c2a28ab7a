"""Reads mutated JSON files: each must give rows and counted faults, or one DataError.

Valid files of every container are changed byte by byte and read in a child process with limits on
time and memory. Everything but rows or a DataError is a finding: another exception, a crash, a
hang, unbounded memory, a line that is neither a row nor a fault, a row that differs from what
Python's json reads from its line, or a row that depends on its neighbours.

    python benchmarks/fuzz_lines.py --n 20000 --seed 0
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.columns.conversion import columns_of
from llm_embedder_data.rows.columns.records import columns_of_records
from llm_embedder_data.rows.files.json_files import line_of_row
from llm_embedder_data.rows.schema.reading import read_file
from llm_embedder_data.rows.schema.train import TRAIN_COLUMNS, TRAIN_ROWS, train_batch

ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2", ".jsonl.xz")
WANTED = TRAIN_COLUMNS

# Limits: seconds per file, and bytes of the child's memory above what it has at its start.
SECONDS = 20
MEMORY = 3 << 30

# Bytes with a meaning in JSON, UTF-8 or a compression.
BYTES = b'{}[]",:\\/0123456789-+.eEnulltruefasNIif \t\r\n\x00\x1e\x7f\x80\xbf\xc0\xed\xf0\xff\xef'
PIECES = (
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\\ud83d", b"\\udc00", b"\\u0000", b"\xed\xa0\x80", b"NaN"),
    *(b"-Infinity", b"Infinity", b"1e999", b"18446744073709551616", b"9" * 700, b"9" * 5000),
    *(b"[" * 1500, b"]" * 1500, b"[" * 1500 + b"]" * 1500, b'{"a":' * 1500, b"}{", b"},", b"\r"),
    *(b'"query"', b"null", b"true", b"\\", b'\\"', "😀".encode(), b"\x1f\x8b", b"\n", b"\n\n"),
    '{"query": "u", "pos": ["v"]}'.encode("utf-16-le"),
)
TEXTS = ("a", "right one", "é中文", "😀 half", 'quo"te', "back\\slash", "line\nbreak", "x" * 300)


def rows(random_: random.Random) -> list[dict[str, Any]]:
    """Rows as people write them; some values have a wrong type."""
    made = []
    for i in range(random_.randint(1, 6)):
        pos = random_.choices(TEXTS, k=random_.randint(1, 3))
        neg = random_.choices(TEXTS, k=random_.randint(0, 4))
        row: dict[str, Any] = {"query": random_.choice(TEXTS), "pos": pos, "neg": neg}
        odd = random_.random()
        if odd < 0.3:
            row["teacher_scores"] = [random_.choice([1, 0.5, -2e-3, 7e9]) for _ in pos + neg]
        if odd < 0.5:
            row["query_id"] = random_.choice([i, f"q{i}", 2**63 - 1])
        if 0.5 < odd < 0.7:
            row["other"] = random_.choice([None, {"deep": [[1, "x"], {}]}, 2**70, [True], 1.5])
        if odd > 0.9:
            field = random_.choice([*row, "task", "history", "teacher_scores"])
            row[field] = random_.choice([None, 3, 2**64, 1.5, True, "t", ["t"], [[]], {"a": 1}])
        made.append(row)
    return made


def content_of(made: list[dict[str, Any]], ending: str, random_: random.Random) -> bytes:
    """The rows as JSON Lines, or as a JSON array."""
    ascii_only = random_.random() < 0.5
    if ending == ".json":
        indent = random_.choice([None, 1])
        return json.dumps(made, ensure_ascii=ascii_only, indent=indent).encode()
    end = random_.choice(["\n", "\n", "\r\n"])
    return end.join(json.dumps(row, ensure_ascii=ascii_only) for row in made).encode() + b"\n"


def packed(content: bytes, ending: str, random_: random.Random) -> bytes:
    """The content compressed as the file ending says, sometimes as two members."""
    pack = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": lambda part: pa.compress(part, codec="zstd", asbytes=True),
    }.get(Path(ending).suffix)
    if pack is None:
        return content
    place = random_.randint(0, len(content)) if random_.random() < 0.3 else len(content)
    parts = [content[:place], content[place:]] if place < len(content) else [content]
    return b"".join(map(pack, parts))


def mutated(content: bytes, random_: random.Random) -> bytes:
    """The content with one to four changes."""
    changed = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        place = random_.randint(0, len(changed))
        how = random_.random()
        if how < 0.35 and place < len(changed):
            changed[place] = random_.choice(BYTES + bytes(range(256)))
        elif how < 0.5:
            del changed[place : place + random_.choice([1, 1, 1, 5, 50])]
        elif how < 0.85:
            changed[place:place] = random_.choice(PIECES)
        elif how < 0.92:
            part = changed[place : place + random_.randint(1, 60)]
            changed[place:place] = part
        elif how < 0.96:
            del changed[place:]
        else:
            changed += random_.choice([b"\x00" * 40, b"trailing", b"\x00", b"\n"])
    return bytes(changed)


def canonical(table: Any) -> list[str]:
    """Each row of a table as text: values, and whether there is a fault."""
    return [_shown(row) for row in table.to_pylist()]


def _shown(row: dict[str, Any]) -> str:
    if row["fault"] is not None:
        return "fault"
    return repr({name: value for name, value in row.items() if name != "fault"}).replace(
        "-0.0", "0.0"
    )


def by_json(line: bytes) -> str | None:
    """The row that Python's json reads from a line; None if it refuses the line."""
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return "fault"
    faults: list[str | None] = [None]
    columns = columns_of_records([record], WANTED, faults)
    [shown] = canonical(train_batch(columns, faults))
    return shown


def alone(line: bytes) -> str:
    """The row that is read from a file with this line only."""
    [shown] = canonical(train_batch(*columns_of(memoryview(line + b"\n"), WANTED)))
    return shown


def check_lines(content: bytes, found: list[str]) -> None:
    """Compare the rows of a file of lines with those that json, and each line alone, give."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = [line for line in lines if line and not line.isspace()]
    assert len(lines) == len(found), f"{len(lines)} lines, {len(found)} rows"
    for number, (line, row) in enumerate(zip(lines, found, strict=True)):
        expected = by_json(line)
        assert expected in (None, row), f"line {number}: json {expected}, read {row}"
        assert row == alone(line), f"line {number}: alone {alone(line)}, among others {row}"


def check_array(content: bytes, found: list[str]) -> None:
    """Compare the rows of a JSON array with those that json gives."""
    try:
        records = json.loads(content.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except (ValueError, RecursionError):
        return
    assert len(records) == len(found), f"{len(records)} elements, {len(found)} rows"
    for number, (record, row) in enumerate(zip(records, found, strict=True)):
        if isinstance(record, dict):
            faults: list[str | None] = [None]
            columns = columns_of_records([record], WANTED, faults)
            [expected] = canonical(train_batch(columns, faults))
            assert expected == row, f"element {number}: json {expected}, read {row}"
        else:
            assert row == "fault", f"element {number} is no object, read {row}"


def case(seed: int) -> tuple[str, bytes, bytes | None]:
    """The file ending, the file, and its uncompressed content if that is what was changed."""
    random_ = random.Random(seed)
    ending = ENDINGS[seed % len(ENDINGS)]
    content = content_of(rows(random_), ending, random_)
    if random_.random() < 0.75 or ending in (".jsonl", ".json"):
        content = mutated(content, random_)
        return ending, packed(content, ending, random_), content
    return ending, mutated(packed(content, ending, random_), random_), None


def read(seed: int, folder: Path) -> str:
    """Read the file of a case; the outcome: ``rows``, ``DataError``, or a finding."""
    ending, file, content = case(seed)
    path = folder / f"{seed}{ending}"
    path.write_bytes(file)
    try:
        table = read_file(str(path), TRAIN_ROWS, cache_dir=folder / "cache")
        faults = table["fault"][:]
        assert all(fault is None or 0 < len(fault) < 500 for fault in faults), "a long fault"
        line_of_row(str(path), len(faults) - 1)
        if content is not None:
            found = canonical(table.data.table)
            is_array = content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
            (check_array if is_array else check_lines)(content, found)
        return "rows"
    except DataError as error:
        if len(str(error)) > 2000:
            return f"a message of {len(str(error))} characters"
        return "DataError"
    except Exception:
        return "finding: " + traceback.format_exc()[-1500:]
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        path.unlink()


def work(seeds: range, answers: Any, folder: Path, read: Callable[[int, Path], str]) -> None:
    """Read cases one after the other; announce each, so that a crash can be attributed."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for seed in seeds:
        answers.send((seed, None))
        answers.send((seed, read(seed, folder)))
    answers.send(None)


def outcomes(
    seeds: range, folder: Path, read: Callable[[int, Path], str] = read
) -> Iterator[tuple[int, str]]:
    """The outcome of each case; a child that dies or hangs is replaced after the case."""
    context = multiprocessing.get_context("spawn")
    while seeds:
        answers, end = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(seeds, end, folder, read))
        child.start()
        end.close()
        seed = seeds[0]
        try:
            while True:
                if not answers.poll(SECONDS + (60 if seed == seeds[0] else 0)):
                    yield seed, f"hangs: more than {SECONDS} s"
                    break
                answer = answers.recv()
                if answer is None:
                    return
                seed, outcome = answer
                if outcome is not None:
                    yield seed, outcome
                    seed += 1
        except EOFError:
            child.join()
            yield seed, f"dies with exit code {child.exitcode}"
        finally:
            child.kill()
            child.join()
        seeds = range(seed + 1, seeds.stop)


def main() -> int:
    """Count the outcomes of many cases; return 1 if there is a finding, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=20_000, help="files")
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {ending: Counter() for ending in ENDINGS}
    started, n_findings = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-lines-") as folder:
        for seed, outcome in outcomes(range(options.seed, options.seed + options.n), Path(folder)):
            known = outcome in ("rows", "DataError")
            counts[ENDINGS[seed % len(ENDINGS)]][outcome if known else "finding"] += 1
            if not known:
                n_findings += 1
                print(f"file {seed}: {outcome}", flush=True)
    for ending, counted in counts.items():
        figures = ", ".join(
            f"{counted[name]:,} {name}" for name in ("rows", "DataError", "finding")
        )
        print(f"{ending:12} {figures}")
    print(f"{options.n:,} files in {time.monotonic() - started:.0f} s, {n_findings} findings")
    return 1 if n_findings else 0


if __name__ == "__main__":
    sys.exit(main())
