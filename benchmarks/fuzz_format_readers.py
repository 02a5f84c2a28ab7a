"""Reads mutated files of every format: each must give rows, or one DataError or ConfigError.

A small file of each format is changed in its values (types swapped, fields missing, NaN, huge
numbers, deep nesting) or in its bytes (cut off, flipped, in another encoding), and read as rows of
every kind, with and without ``format:``, corpus, queries and judgments. Anything but rows or one of
the two errors is a finding.

    python benchmarks/fuzz_format_readers.py --n 20000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_embedder_data.core.errors import ConfigError, DataError
from llm_embedder_data.rows.formats.detection import BY_NAME
from llm_embedder_data.rows.read_rows import read_rows

TIDES, RYE, KILNS = (
    "Tide tables list high water and low water.",
    "Rye has little gluten and does not rise.",
    "Brick kilns reach a thousand degrees.",
)
P1, P2 = {"docid": "d1", "title": "Tides", "text": TIDES}, {"docid": "d2", "text": RYE}
TURN = [{"role": "user", "content": "what is a tide table"}]
SQUAD = [
    {
        "title": "Tides",
        "paragraphs": [{"context": TIDES, "qas": [{"question": "what?", "id": "1"}]}],
    }
]
CONTRASTORS = {"objective": {"paired": [["query", "document"]], "triplet": []}}

# Records of a JSON Lines file, by format.
LINES: dict[str, list[Any]] = {
    "llm_embedder": [{"query": "q", "pos": [TIDES], "neg": [RYE], "teacher_scores": [1.0, 0.5]}],
    "history": [{"query": "q", "history": [TIDES, RYE], "teacher_scores": [1.0, 0.5], "qid": 1}],
    "relevant": [{"query": "q", "query_id": 1, "relevant": {"d1": 2, "d2": 0}}],
    "pos_index": [{"query": "q", "pos_index": [0, 1]}],
    "flagembedding": [
        {"query": "q", "pos": [TIDES], "neg": [RYE], "pos_scores": [9], "neg_scores": [0.5]},
        {"query": "q", "pos": [TIDES], "neg": [], "prompt": "Find: ", "type": "symmetric_sts"},
    ],
    "tevatron": [
        {"query_id": "1", "query": "q", "positive_passages": [P1], "negative_passages": [P2]}
    ],
    "lightretriever": [
        {"query": "q", "positive_passages": [{**P1, "ce_score": 9.5}], "negative_passages": []}
    ],
    "tevatron_ids": [{"query_id": "1", "query_text": None, "positive_document_ids": ["d1"]}],
    "columns": [{"anchor": "q", "positive": TIDES, "negative_1": RYE, "negative_2": None}],
    "ids": [{"query": "q", "pos": ["d1"], "neg": ["d2", "d3"]}],
    "labeled_pairs": [{"sentence1": "q", "sentence2": TIDES, "label": 1}],
    "labeled_list": [{"query": "q", "docs": [TIDES, RYE], "labels": [1, 0]}],
    "arrays": [["what is it", TIDES, RYE], ["what", KILNS]],
    "sets": [{"set": [TIDES, RYE, RYE]}],
    "hard_negatives": [{"qid": 1, "pos": ["d1"], "neg": {"bm25": ["d2"], "ance": ["d3"]}}],
    "kd_ids": [{"query_id": 1, "document_ids": '["d1", "d2"]', "scores": "[0.5, 0.1]"}],
    "colbert": [[1, "d1", "d2"], [2, "d2", "d3"]],
    "colbert_scored": [[1, ["d1", 2.5], ["d2", 0.5]]],
    "run_jsonl": [
        {"query_id": 1, "query": "q", "doc_id": 3, "text": TIDES, "rank": 1, "score": 2.0}
    ],
    "id_text": [{"_id": "d1", "title": "Tides", "text": TIDES}, {"_id": "d2", "text": RYE}],
    "dpr": [{"question": "q", "positive_ctxs": [P1], "hard_negative_ctxs": [P2]}],
    "gritlm": [{"query": ["find", "q"], "pos": [["", TIDES]], "neg": [["", RYE]]}],
    "medi": [{"query": ["find", "q"], "pos": ["", TIDES], "neg": ["", RYE], "task_name": "t"}],
    "contrastors": [
        {
            **{"query": "q", "document": TIDES, "negatives": [RYE], "document_score": 1.0},
            **{"negatives_scores": [0.5], "metadata": CONTRASTORS},
        }
    ],
    "ms_swift": [
        {"messages": TURN, "positive_messages": [TURN], "negative_messages": [TURN], "label": 1}
    ],
    "ms_swift_old": [{"query": "q", "response": TIDES, "rejected_response": [RYE], "history": []}],
    "nemo": [{"query": "q", "pos_doc": [{"text": TIDES}], "neg_doc": [RYE, {"id": "d1"}]}],
    "kalm": [{"query": "Instruct: find \n Query: q", "pos": [TIDES], "neg": [RYE]}],
    "simlm": [
        {"query": "q", "positives": {"doc_id": ["0"], "score": [1.5]}, "negatives": {"doc_id": []}}
    ],
    "cohere": [{"query": "q", "relevant_passages": [TIDES], "hard_negatives": [RYE]}],
    "llamaindex": [
        {"queries": {"q1": "q"}, "corpus": {"d1": TIDES}, "relevant_docs": {"q1": ["d1"]}}
    ],
    "hotpotqa": [
        {
            "question": "q",
            "context": [["A", [TIDES]], ["B", [RYE]]],
            "supporting_facts": [["A", 0]],
        },
        {
            **{"question": "q", "context": {"title": ["A"], "sentences": [[TIDES]]}},
            "supporting_facts": {"title": ["A"], "sent_id": [0]},
        },
    ],
    "musique": [
        {"question": "q", "paragraphs": [{"title": "A", "text": TIDES, "is_supporting": True}]}
    ],
    "squad": [{"data": SQUAD}],
    "toolbench": [
        {
            **{"query": "q", "api_list": [{"tool_name": "a", "api_name": "b"}]},
            "relevant APIs": [["a", "b"]],
        }
    ],
    "open_qa": [{"question": "q", "answer": ["1988"]}],
    "arctic": [{"QUERY_ID": 1, "DOCUMENT_ID": "d1", "RELEVANCE": 1}],
    "ranx": [{"1": {"d1": 1, "d2": 2}, "2": {"d2": 0.5}}],
}
# Files of tables, such as CSV.
TEXTS: dict[str, str] = {
    "gpl_margins": "1\td1\td2\t0.75\n2\td2\td3\t-1.5\n",
    "trec_qrels": "1 0 d1 1\n1 0 d2 0\n2 Q0 d2 2\n",
    "trec_run": "1 Q0 d1 1 9.5 tag\n1 Q0 d2 2 8.5 tag\n2 Q0 d2 1 1e3 tag\n",
    "id_triples": "1\td1\td2\n1\td1\td3\n2\td2\td3\n",
    "triples": f"what is it\t{TIDES}\t{RYE}\nwhat else\t{RYE}\t{KILNS}\n",
    "top1000": f"1\td1\twhat is it\t{TIDES}\n1\td2\twhat is it\t{RYE}\n",
    "documents": f"d1\thttp://a.org\tTides\t{TIDES}\nd2\thttp://b.org\t\t{RYE}\n",
    "beir_qrels": "query-id\tcorpus-id\tscore\n1\td1\t2\n1\td2\t0\n",
    "pairs_csv": f'query,pos,neg\n"what, then","[""{TIDES}""]","[]"\nq,{RYE},{KILNS}\n',
    "scores_csv": f"sentence1;sentence2;score\nq;{TIDES};0.5\nq;{RYE};1\n",
}
CORPUS = [{"_id": f"d{n}", "text": text} for n, text in enumerate((TIDES, RYE, KILNS), 1)]
QUERIES = [{"_id": n, "text": f"query {n}"} for n in (1, 2)]


def lines_of(records: list[Any]) -> bytes:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode()


def deep(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


def a_value(rng: random.Random) -> Any:
    return rng.choice(
        [
            *(None, True, 0, -1, 3, 1.5, float("nan"), float("inf"), -float("inf"), 10**30, 1e300),
            *(10**400, "", "  ", "x", "d1", "\x00", "\ud800", "[1, 2]", "[" * 50, "0001", [], {}),
            *([[]], [None], [1], ["d1"], ["x", None], {"id": "d1"}, {"text": TIDES}, {"a": []}),
            *([[1, 2]], [["a", "b"]], deep(30), deep(900), "é" * 40, TIDES, [TIDES], [0.5, 0.1]),
        ]
    )


def changed(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """A copy of a value with one part changed, removed, repeated or moved."""
    if depth < 8 and isinstance(value, dict | list) and value and rng.random() < 0.8:
        if isinstance(value, list):
            place, value = rng.randrange(len(value)), list(value)
            action = rng.random()
            if action < 0.12:
                del value[place]
            elif action < 0.24:
                value.insert(place, value[place])
            else:
                value[place] = changed(value[place], rng, depth + 1)
            return value
        value = dict(value)
        name = rng.choice(list(value))
        action = rng.random()
        if action < 0.15:
            del value[name]
        elif action < 0.25:
            value[rng.choice(list(value))] = value[name]
        elif action < 0.3:
            value[rng.choice(["pos", "neg", "query", "id", "label", "scores", "x"])] = value[name]
        else:
            value[name] = changed(value[name], rng, depth + 1)
        return value
    return a_value(rng)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A copy of a file's content that is cut off, has bytes flipped, or has another encoding."""
    action = rng.random()
    if action < 0.3 and content:
        return content[: rng.randrange(len(content))]
    if action < 0.7:
        found = bytearray(content)
        for _ in range(rng.randrange(1, 5)):
            if found:
                found[rng.randrange(len(found))] = rng.choice(b"\x00\xff\t\n\r\"'[]{},:;0 9a")
        return bytes(found)
    if action < 0.8:
        return content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32"]))
    if action < 0.9:
        place = rng.randrange(len(content) + 1)
        return content[:place] + content[: rng.randrange(len(content) + 1)] + content[place:]
    return content.replace(b"i", "\u00e9".encode("latin-1"))


def records_of(name: str, rng: random.Random) -> bytes:
    records = LINES[name] * rng.choice([1, 1, 3, 60])
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        place = rng.randrange(len(records))
        records = [*records[:place], changed(records[place], rng), *records[place + 1 :]]
    try:
        content = lines_of(records)
    except UnicodeEncodeError:
        content = json.dumps(records).encode()
    if rng.random() < 0.15:
        content = json.dumps(records, indent=rng.choice([None, 1])).encode()
    return damaged(content, rng) if rng.random() < 0.15 else content


def cells_of(name: str, rng: random.Random) -> bytes:
    lines = [line.split("\t") for line in TEXTS[name].splitlines()] * rng.choice([1, 1, 20])
    for _ in range(rng.choice([0, 1, 2])):
        cells = rng.choice(lines)
        place = rng.randrange(len(cells))
        cells[place] = rng.choice(
            ["", "x", "1", "0.5", "nan", "-", '"', "a b", "9" * 400, "\u00a0"]
        )
        if rng.random() < 0.2:
            cells.append("more")
    content = "\n".join("\t".join(line) for line in lines).encode()
    return damaged(content, rng) if rng.random() < 0.4 else content


def folder_of(root: Path, rng: random.Random) -> Path:
    """Make a folder in a format that consists of a folder, with one file changed."""
    readme = (
        "---\nconfigs:\n- config_name: corpus\n  data_files: corpus/*\n- config_name: queries\n"
    )
    layouts: list[dict[str, bytes]] = [
        {
            "corpus.jsonl": lines_of(CORPUS),
            "queries.jsonl": lines_of(QUERIES),
            "qrels/test.tsv": TEXTS["beir_qrels"].encode(),
        },
        {
            "corpus.jsonl": lines_of([{"id": "d1", "title": "", "text": TIDES}]),
            "test_queries.jsonl": lines_of([{"id": "1", "text": "q"}]),
            "test_qrels.jsonl": lines_of([{"qid": "1", "docid": "d1", "relevance": 1}]),
        },
        {
            "corpus.tsv": b'docid\tdocument_content\n1\t"{""tool_name"": ""a""}"\n',
            "train.query.txt": b"1\tquery one\n",
            "qrels.train.tsv": b"1\t0\t1\t1\n",
        },
        {
            "README.md": (readme + "  data_files: queries/*\n---\n").encode(),
            "corpus/test-0.jsonl": lines_of(CORPUS),
            "queries/test-0.jsonl": lines_of(QUERIES),
            "data/test-0.jsonl": lines_of([{"query-id": 1, "corpus-id": "d1", "score": 1}]),
            "top_ranked/test-0.jsonl": lines_of([{"query-id": 1, "corpus-ids": ["d1", "d2"]}]),
            "instruction/test-0.jsonl": lines_of([{"query-id": 1, "instruction": "find"}]),
        },
        {
            "queries.jsonl": lines_of([{"QUERY_ID": 1, "QUERY_TEXT": "q"}]),
            "documents.jsonl": lines_of([{"DOCUMENT_ID": 1, "DOCUMENT_TEXT": TIDES}]),
            "labels.jsonl": lines_of([{"QUERY_ID": 1, "DOCUMENT_ID": 1, "RELEVANCE": 1}]),
        },
        {
            "train.json": json.dumps(
                {"corpus": [{"path": "c"}], "data": [{"question": "q", "pos_doc": ["d1"]}]}
            ).encode(),
            "c/merlin_metadata.json": b'{"corpus_id": "c", "query_instruction": "find"}',
            "c/train.jsonl": lines_of([{"id": "d1", "text": TIDES}]),
        },
    ]
    layout = dict(rng.choice(layouts))
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(list(layout))
        if name.endswith((".jsonl", ".json")) and rng.random() < 0.6:
            layout[name] = changed_lines(layout[name], rng)
        elif rng.random() < 0.2:
            del layout[name]
            if not layout:
                layout["a.jsonl"] = b"{}"
        else:
            layout[name] = damaged(layout[name], rng)
    for name, content in layout.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / "train.json" if "train.json" in layout and rng.random() < 0.7 else root


def changed_lines(content: bytes, rng: random.Random) -> bytes:
    try:
        records = [json.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError:
        return content
    return "".join(json.dumps(changed(one, rng)) + "\n" for one in records).encode()


def outcome_of(read: Callable[[], Any]) -> str:
    """The outcome of reading; the traceback if it is a finding."""
    try:
        rows = list(read())
    except (DataError, ConfigError) as error:
        return "several lines\n" + str(error) if "\n" in str(error) else "an error"
    except BaseException:
        return traceback.format_exc()
    return "rows" if rows else "no row"


def fuzzed(n: int, seed: int) -> tuple[Counter[str], dict[str, str]]:
    """Read ``n`` mutated files; count the outcomes, and collect the findings by last line."""
    rng, outcomes, findings = random.Random(seed), Counter[str](), dict[str, str]()
    began, slowest = time.perf_counter(), 0.0
    names = [*LINES, *TEXTS, *["folder"] * 8]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "corpus.jsonl").write_bytes(lines_of(CORPUS))
        (root / "queries.jsonl").write_bytes(lines_of(QUERIES))
        (root / "qrels.tsv").write_text("1\t0\td1\t1\n1\t0\td2\t0\n")
        beside = {
            "corpus": str(root / "corpus.jsonl"),
            "queries": str(root / "queries.jsonl"),
            "qrels": str(root / "qrels.tsv"),
        }
        for number in range(n):
            kind_of_file, folder = rng.choice(names), root / "mutated"
            folder.mkdir()
            if kind_of_file == "folder":
                path = folder_of(folder, rng)
            else:
                path = folder / f"{kind_of_file}{rng.choice(['.jsonl', '.json', '.tsv', ''])}"
                make = records_of if kind_of_file in LINES else cells_of
                path.write_bytes(make(kind_of_file, rng))
            settings: dict[str, Any] = {
                **{one: value for one, value in beside.items() if rng.random() < 0.6},
                "kind": rng.choice(["train", "train", "eval", "corpus"]),
                "on_bad_row": rng.choice(["raise", "skip", "skip"]),
            }
            if rng.random() < 0.3:
                settings["format"] = rng.choice(list(BY_NAME))
            if rng.random() < 0.2:
                settings[rng.choice(["threshold", "miner"])] = rng.choice([0.5, "bm25"])
            if isinstance(settings.get("miner"), float):
                del settings["miner"]
            if isinstance(settings.get("threshold"), str):
                del settings["threshold"]
            start = time.perf_counter()
            outcome = outcome_of(lambda p=path, s=settings: read_rows(str(p), **s))
            slowest = max(slowest, time.perf_counter() - start)
            if outcome in ("rows", "no row", "an error"):
                outcomes[outcome] += 1
            else:
                outcomes["FINDING"] += 1
                where = "\n".join(outcome.strip().splitlines()[-3:])
                if where not in findings:
                    findings[where] = outcome
                    print(f"finding in file {number} ({kind_of_file}, {settings}):\n{outcome}")
            shutil.rmtree(folder)
    print(
        f"{n:,} files in {time.perf_counter() - began:.0f} s, slowest {slowest:.2f} s: "
        + ", ".join(f"{n:,} {what}" for what, n in outcomes.most_common())
    )
    return outcomes, findings


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--n", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    _, findings = fuzzed(given.n, given.seed)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
