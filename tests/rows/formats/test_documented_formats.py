"""Every YAML block of the page of formats reads a small file of the format that it is shown for."""

import gzip
import json
import re
from pathlib import Path

import pytest
import yaml

from llm_embedder_data.rows.foreign_rows.row_reader import RowReader
from llm_embedder_data.rows.formats.detection import BY_NAME

PAGES = ("formats.md", "ids.md")
DOCS = Path(__file__).parents[3] / "docs"
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
]
KINDS = {"train_data": "train", "eval_data": "eval", "corpus": "corpus"}


def sources():
    """(kind, name, source) of each source of each block."""
    for block in BLOCKS:
        for setting, named in yaml.safe_load(block).items():
            for name, source in named.items():
                yield KINDS[setting], name, source


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def tabbed(*rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def passage(number, **more):
    return {"docid": f"{number}", "title": "", "text": f"passage {number}", **more}


TEXTS = {n: f"passage {n}" for n in range(4)}
QRELS = "query-id\tcorpus-id\tscore\n1\t0\t1\n1\t2\t0\n"
BEIR_CORPUS = lines(*({"_id": f"{n}", "title": "", "text": text} for n, text in TEXTS.items()))
QUERY = lines({"_id": "1", "text": "query 1"})
API = {"tool_name": "tide", "api_name": "table", "api_description": "lists tides"}
OTHER_API = {**API, "api_name": "moon"}
LLAMAINDEX = {
    "queries": {"q": "query 1"},
    "corpus": {"0": "passage 0", "1": "passage 1"},
    "relevant_docs": {"q": ["0"]},
}
QUESTION = {"question": "query 1", "id": "1", "answers": [{"text": "x", "answer_start": 0}]}
ARTICLE = {"title": "T", "paragraphs": [{"context": "passage 0", "qas": [QUESTION]}]}


def mteb(task=""):
    return {
        f"{task}corpus/test-0.jsonl": lines({"_id": 0, "title": "", "text": "passage 0"}),
        f"{task}queries/test-0.jsonl": lines({"_id": 1, "text": "query 1"}),
        f"{task}qrels/test-0.jsonl": lines({"query-id": 1, "corpus-id": 0, "score": 1}),
    }


def readme(*folders):
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test-*\n"
        for name in folders
    )
    return f"---\nconfigs:\n{configs}---\n"


def beir(prefix=""):
    return {
        "corpus.jsonl": BEIR_CORPUS,
        f"{prefix}queries.jsonl": QUERY,
        f"{prefix}qrels/train.tsv": QRELS,
        f"{prefix}qrels/test.tsv": QRELS,
    }


def under(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


ROW = {"query": "query 1", "pos": ["passage 0"], "neg": ["passage 1"]}
PARTS = ("corpus", "queries", "qrels")

# What the page's paths hold. Made up; the layout is that of each format.
FILES = {
    "example_data/nli.jsonl": lines({**ROW, "pos_scores": [2.0], "neg_scores": [1.0]}),
    "example_data/classification-no_in_batch_neg/a.jsonl": lines(
        {**ROW, "prompt": "Sort: ", "type": "symmetric_class"}
    ),
    "llm-embedder/train.jsonl": lines({**ROW, "teacher_scores": [2.0, 1.0], "task": "qa"}),
    "my_eval/corpus.jsonl": lines({"id": "0", "title": "", "text": "passage 0"}),
    "my_eval/test_queries.jsonl": lines({"id": "1", "text": "query 1"}),
    "my_eval/test_qrels.jsonl": lines({"qid": "1", "docid": "0", "relevance": 1}),
    "triplets.csv": "anchor,positive,negative\nquery 1,passage 0,passage 1\n",
    "stsb.csv": "sentence1,sentence2,score\nquery 1,passage 0,4.5\nquery 1,passage 1,1.25\n",
    "all-nli.jsonl": lines(
        {"sentence1": "query 1", "sentence2": "passage 0", "label": "entailment"},
        {"sentence1": "query 1", "sentence2": "passage 1", "label": "contradiction"},
    ),
    "quora.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    "0\t1\t2\tquery 1\tpassage 0\t1\n1\t1\t3\tquery 1\tpassage 1\t0\n",
    "query-docs-labels.jsonl": lines(
        {"query": "query 1", "docs": ["passage 0", "passage 1"], "labels": [1, 0]}
    ),
    "gooaq_pairs.jsonl": lines(["query 1", "passage 0", "passage 1"]),
    "WikiAnswers.jsonl": lines({"set": ["query 1", "passage 0"]}),
    "mine.csv": "frage,antwort,falsch_1,falsch_2\nquery 1,passage 0,passage 1,passage 2\n",
    "nq-train.jsonl": lines(
        {
            "query_id": "1",
            "query": "query 1",
            "positive_passages": [passage(0)],
            "negative_passages": [passage(1)],
        }
    ),
    "lightretriever/train.jsonl": lines(
        {
            "query": "query 1",
            "positive_passages": [passage(0, ce_score=2.5)],
            "negative_passages": [passage(1, ce_score=-1.5)],
        }
    ),
    "biencoder-nq-train.json": json.dumps(
        [
            {
                "question": "query 1",
                "positive_ctxs": [passage(0)],
                "hard_negative_ctxs": [passage(1)],
                "negative_ctxs": [],
            }
        ]
    ),
    "rerank.jsonl": lines(
        {
            "query": "query 1",
            "relevant_passages": ["passage 0"],
            "hard_negatives": ["passage 1"],
        }
    ),
    "shard-00000.jsonl.gz": lines(
        {"query": "query 1", "document": "passage 0", "negatives": ["passage 1"]}
    ),
    "nemo/inline.jsonl": lines(
        {"question": "query 1", "pos_doc": "passage 0", "neg_doc": ["passage 1"]}
    ),
    "nemo/train.json": json.dumps(
        {
            "corpus": [{"path": "wiki"}],
            "data": [
                {
                    "question_id": "1",
                    "question": "query 1",
                    "corpus_id": "wiki",
                    "pos_doc": [{"id": "0"}],
                    "neg_doc": [{"id": "1"}],
                }
            ],
        }
    ),
    "nemo/wiki/merlin_metadata.json": json.dumps({"corpus_id": "wiki"}),
    "nemo/wiki/train.jsonl": lines(*({"id": f"{n}", "text": text} for n, text in TEXTS.items())),
    **under("scifact", beir()),
    **under("fiqa-gpl", beir("qgen-")),
    "fiqa-gpl/gpl-training-data.tsv": tabbed((1, 0, 1, 2.5)),
    **under("mteb/NanoFiQA", mteb() | {"README.md": readme(*PARTS)}),
    **under(
        "mteb/several",
        mteb("german-")
        | mteb("french-")
        | {
            "README.md": readme(
                *(f"{one}-{part}" for one in ("german", "french") for part in PARTS)
            )
        },
    ),
    "queries.tsv": tabbed((1, "query 1"), (2, "query 2")),
    "collection.tsv": tabbed(*TEXTS.items()),
    "qrels.txt": tabbed((1, 0, 0, 1), (1, 0, 1, 0)),
    "run.trec": "1 Q0 1 1 9.5 tag\n1 Q0 0 2 8.5 tag\n",
    "ranx/run.json": json.dumps({"1": {"0": 2.5, "1": 1.5}}),
    "ranx/qrels.json": json.dumps({"1": {"0": 1, "1": 0}}),
    "run.jsonl": lines(
        *(
            {"query_id": 1, "query": "query 1", "doc_id": n, "text": f"passage {n}", "rank": n + 1}
            for n in range(2)
        )
    ),
    "triples.train.small.tsv": tabbed(("query 1", "passage 0", "passage 1")),
    "qidpidtriples.train.full.tsv": tabbed((1, 0, 1), (1, 0, 3)),
    "top1000.dev.tsv": tabbed((1, 0, "query 1", "passage 0"), (1, 1, "query 1", "passage 1")),
    "msmarco-hard-negatives.jsonl.gz": lines(
        {"qid": 1, "pos": [0], "neg": {"bm25": [1], "other": [2]}}
    ),
    "tevatron/ids.jsonl": lines(
        {
            "query_id": "1",
            "query_text": "query 1",
            "positive_document_ids": ["0"],
            "negative_document_ids": ["1"],
        }
    ),
    "msmarco-docs.tsv": tabbed(("D0", "https://a.example/0", "Tides", "passage 0")),
    "colbert/triples.json": lines([1, 0, 1]),
    "colbert/nway_scores.json": lines([1, [0, 2.5], [1, 1.5]]),
    "pylate/train.jsonl": lines({"query_id": 1, "document_ids": "[0, 1]", "scores": "[2.5, 1.5]"}),
    "pylate/queries.jsonl": lines({"query_id": 1, "text": "query 1"}),
    "pylate/documents.jsonl": lines(
        *({"document_id": n, "text": text} for n, text in TEXTS.items())
    ),
    "simlm/kd_train.jsonl": lines(
        {
            "query_id": "1",
            "query": "query 1",
            "positives": {"doc_id": ["0"], "score": [2.5]},
            "negatives": {"doc_id": ["1"], "score": [1.5]},
        }
    ),
    "simlm/passages.jsonl.gz": lines(
        *({"id": f"p{n}", "title": "", "contents": text} for n, text in TEXTS.items())
    ),
    "arctic-embed-ft/queries.jsonl": lines({"QUERY_ID": 1, "QUERY_TEXT": "query 1"}),
    "arctic-embed-ft/documents.jsonl": lines(
        *({"DOCUMENT_ID": n, "DOCUMENT_TEXT": text} for n, text in TEXTS.items())
    ),
    "arctic-embed-ft/labels.jsonl": lines(
        {"QUERY_ID": 1, "DOCUMENT_ID": 0, "RELEVANCE": 1},
        {"QUERY_ID": 1, "DOCUMENT_ID": 1, "RELEVANCE": -1},
    ),
    "gritlm/msmarco.jsonl": lines(
        {"query": ["Find", "query 1"], "pos": [["", "passage 0"]], "neg": [["", "passage 1"]]}
    ),
    "medi-data.json": json.dumps(
        [{"query": ["Find", "query 1"], "pos": ["P", "passage 0"], "neg": ["P", "passage 1"]}]
    ),
    "kalm/retrieval.jsonl": lines({**ROW, "query": "Instruct: Find it. \n Query: query 1"}),
    "ms-swift/train.jsonl": lines(
        {
            "messages": [
                {"role": "system", "content": "Find"},
                {"role": "user", "content": "query 1"},
            ],
            "positive_messages": [[{"role": "user", "content": "passage 0"}]],
            "negative_messages": [[{"role": "user", "content": "passage 1"}]],
        }
    ),
    "hotpot_train_v1.1.json": json.dumps(
        [
            {
                "_id": "1",
                "question": "query 1",
                "context": [["T", ["passage 0"]], ["U", ["passage 1"]]],
                "supporting_facts": [["T", 0]],
            }
        ]
    ),
    "musique_ans_v1.0_train.jsonl": lines(
        {
            "id": "1",
            "question": "query 1",
            "paragraphs": [
                {"title": "T", "paragraph_text": "passage 0", "is_supporting": True},
                {"title": "U", "paragraph_text": "passage 1", "is_supporting": False},
            ],
        }
    ),
    "train-v2.0.json": json.dumps({"version": "2.0", "data": [ARTICLE]}),
    "llamaindex/qa_dataset.json": json.dumps(LLAMAINDEX),
    "toolbench/train.json": json.dumps(
        [
            {
                "query": "query 1",
                "api_list": [API, OTHER_API],
                "relevant APIs": [["tide", "table"]],
            }
        ]
    ),
    "toolbench/retrieval/corpus.tsv": "docid\tdocument_content\n"
    + "".join(
        '{}\t"{}"\n'.format(n, json.dumps(api).replace('"', '""'))
        for n, api in enumerate((API, OTHER_API))
    ),
    "toolbench/retrieval/train.query.txt": tabbed((1, "query 1")),
    "toolbench/retrieval/qrels.train.tsv": tabbed((1, 0, 0, 1)),
}

TRIPLET = (["passage 0"], ["passage 1"])
PAIR = (["passage 0"], [])
CANDIDATES = ["passage 0", "passage 1"]
TITLED = (["T passage 0"], ["U passage 1"])
TABLE, MOON = "tide: table: lists tides", "tide: moon: lists tides"

# Positives and negatives of the first training row, or its candidates, by the source's name; its
# query is "query 1".
TRAIN = {
    **dict.fromkeys(["nli", "classes", "llm_embedder", "triplets", "pairs", "labelled"], TRIPLET),
    "duplicates": TRIPLET,
    **dict.fromkeys(["lists", "arrays", "tevatron", "lightretriever", "dpr", "cohere"], TRIPLET),
    **dict.fromkeys(["contrastors", "nemo", "nemo_ids", "judged", "mined", "ranx"], TRIPLET),
    **dict.fromkeys(["ranx_judged", "triples", "top1000", "hard", "tevatron_ids"], TRIPLET),
    **dict.fromkeys(["colbert", "gpl", "simlm", "arctic"], TRIPLET),
    **dict.fromkeys(["gritlm", "medi", "kalm", "ms_swift"], TRIPLET),
    "renamed": (["passage 0"], ["passage 1", "passage 2"]),
    "sets": PAIR,
    "scifact": (["passage 0"], ["passage 2"]),
    "generated": (["passage 0"], ["passage 2"]),
    "id_triples": (["passage 0"], ["passage 1", "passage 3"]),
    "with_texts": CANDIDATES,
    "colbert_scores": CANDIDATES,
    "pylate": CANDIDATES,
    "hotpotqa": TITLED,
    "musique": TITLED,
    "squad": (["T passage 0"], []),
    "llamaindex": PAIR,
    "toolbench": ([TABLE], [MOON]),
    "tools": ([TABLE], []),
}
EVAL = {
    "mine": {"0": 1},
    "scifact": {"0": 1, "2": 0},
    "nanofiqa": {"0": 1},
    "german": {"0": 1},
    "judged": {"0": 1, "1": 0},
    "squad": {"0": 1},
    "llamaindex": {"0": 1},
}
CORPORA = {
    **dict.fromkeys(["mine", "scifact", "nanofiqa", "judged", "llamaindex"], "passage 0"),
    "documents": "Tides passage 0",
    "squad": "T passage 0",
}
EXPECTED = {"train": TRAIN, "eval": EVAL, "corpus": CORPORA}


@pytest.fixture(scope="module")
def folder_of_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("documented")
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = content.encode()
        path.write_bytes(gzip.compress(encoded) if path.suffix == ".gz" else encoded)
    return root


@pytest.fixture
def written(folder_of_files, monkeypatch):
    monkeypatch.chdir(folder_of_files)


def reader_of(kind, name, source):
    return RowReader({name: source}, kind=kind, cache_dir="cache")


@pytest.mark.parametrize(("kind", "name", "source"), sources())
def test_the_lines_read_the_format_that_they_are_shown_for(written, kind, name, source):
    row = next(reader_of(kind, name, source).rows())

    if kind == "corpus":
        assert row["text"] == CORPORA[name]
    elif kind == "eval":
        assert (row["query"], row["relevant"]) == ("query 1", EVAL[name])
    elif name == "sets":  # which text is the query is drawn
        assert sorted([row["query"], *row["pos"]]) == ["passage 0", "query 1"]
    else:
        found = row["candidates"] or (row["pos"], row["neg"])
        assert (row["query"], found) == ("query 1", TRAIN[name])


def test_what_is_expected_is_on_the_page_and_every_format_is_read_there(written):
    shown = {kind: set() for kind in EXPECTED}
    formats = set()
    for kind, name, source in sources():
        shown[kind].add(name)
        reader = reader_of(kind, name, source)
        list(reader.rows())
        formats |= {found.format for found in reader.report}

    assert shown == {kind: set(names) for kind, names in EXPECTED.items()}
    assert set(BY_NAME) - formats == set()


def test_the_page_names_every_value_of_format():
    names = (DOCS / "formats.md").read_text().partition("## All names of `format:`")[2]
    assert set(re.findall(r"\w+", names)) == set(BY_NAME)
