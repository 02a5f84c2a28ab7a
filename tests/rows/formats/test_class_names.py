"""Labels in words, and numbers whose classes the data set names."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_embedder_data import read_rows
from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.files.tables import table_slices
from llm_embedder_data.rows.records.memory_digest import memory_digest

NLI = ["entailment", "neutral", "contradiction"]
TEXTS = ["Jemand kocht.", "Es gibt Suppe.", "Alle schlafen.", "Unklar."]


def nli(names, first="premise", second="hypothesis"):
    """A data set of one premise, with one pair of each class and one pair without a label."""
    features = datasets.Features(
        {
            first: datasets.Value("string"),
            second: datasets.Value("large_string"),
            "label": datasets.ClassLabel(names=names),
        }
    )
    numbers = [*range(len(names)), -1]
    columns = {first: ["Er kocht."] * len(numbers), second: TEXTS[: len(numbers)]}
    return datasets.Dataset.from_dict({**columns, "label": numbers}, features=features)


def as_parquet(data, path):
    data.to_parquet(path / "nli.parquet")
    return str(path / "nli.parquet")


def as_folder(data, path):
    datasets.DatasetDict(train=data).save_to_disk(path / "nli")
    return str(path / "nli")


CONTAINERS = {
    "Dataset": lambda data, path: data,
    "DatasetDict": lambda data, path: datasets.DatasetDict(train=data),
    "IterableDataset": lambda data, path: data.to_iterable_dataset(),
    "Arrow table": lambda data, path: data.data.table,
    "Parquet": as_parquet,
    "save_to_disk": as_folder,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("names", [NLI, NLI[::-1], ["neutral", "contradiction", "entailment"]])
def test_classes_of_inference_are_known_by_name_in_any_order(tmp_path, folder, container, names):
    source = CONTAINERS[container](nli(names), tmp_path)
    [row] = read_rows(source, cache_dir=tmp_path / "cache")
    assert row["pos"] == [TEXTS[names.index("entailment")]]
    assert row["neg"] == [TEXTS[names.index("contradiction")]]


def test_neutral_pairs_and_pairs_without_a_label_are_counted(tmp_path, folder):
    rows = folder.read(as_parquet(nli(NLI), tmp_path))
    assert len(rows) == 1
    assert folder.left_out == {"neutral pairs": 1, "pairs without a gold label": 1}


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (["entailment", "not_entailment"], 0),
        (["not_entailment", "entailment"], 1),
        (["not_duplicate", "duplicate"], 1),
        (["Duplicate", "Not duplicate"], 0),
        (["not_equivalent", "equivalent"], 1),
        (["different", "duplicate"], 1),
        (["paraphrase", "non-paraphrase"], 0),
        (["0", "1"], 1),
    ],
)
def test_two_classes_are_known_by_name(names, positive):
    [row] = read_rows(nli(names, "sentence1", "sentence2"))
    assert (row["pos"], row["neg"]) == ([TEXTS[positive]], [TEXTS[1 - positive]])


def test_classes_of_unknown_names_are_asked_for_unless_a_threshold_says_it():
    data = nli(["kein Duplikat", "Duplikat"], "sentence1", "sentence2")
    with pytest.raises(DataError, match=r"'kein Duplikat' \(class 0\).*give threshold: 1"):
        list(read_rows(data))
    [row] = read_rows(data.filter(lambda label: label >= 0, input_columns="label"), threshold=1)
    assert (row["pos"], row["neg"]) == ([TEXTS[1]], [TEXTS[0]])


def test_data_of_other_class_names_has_another_digest():
    names = ["duplicate", "not_duplicate"]
    digests = [
        memory_digest(nli(order, "text1", "text2"), "data") for order in (names, names[::-1])
    ]
    assert digests[0] != digests[1]


def test_a_task_of_named_classes_is_its_name(tmp_path):
    features = datasets.Features(
        {
            "query": datasets.Value("string"),
            "pos": datasets.Sequence(datasets.Value("string")),
            "task": datasets.ClassLabel(names=["qa", "icl"]),
        }
    )
    columns = {"query": ["Wann?", "Wo?"], "pos": [["Um acht."], ["Am Pier."]], "task": [1, 0]}
    data = datasets.Dataset.from_dict(columns, features=features)
    assert [row["task"] for row in read_rows(data)] == ["icl", "qa"]
    data.to_parquet(tmp_path / "rows.parquet")
    assert [row["task"] for row in read_rows(tmp_path / "rows.parquet")] == ["icl", "qa"]


def test_native_columns_of_named_classes_are_texts(tmp_path):
    classes = datasets.ClassLabel(names=["news", "sport"])
    features = datasets.Features({"task": classes, "pos": datasets.Sequence(classes)})
    columns = {"task": [1, -1, None], "pos": [[0, 1], [], [1]]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "a.parquet")
    kinds = {"task": ["string"], "pos": ["strings"]}
    [batch] = table_slices(str(tmp_path / "a.parquet"), "parquet", kinds)
    assert batch.column("task").to_pylist() == ["sport", None, None]
    assert batch.column("pos").to_pylist() == [["news", "sport"], [], ["sport"]]


def test_labels_of_a_list_may_be_words_or_classes():
    record = {"query": "q", "docs": ["a", "b"], "labels": ["irrelevant", "relevant"]}
    [row] = read_rows([record])
    assert (row["pos"], row["neg"]) == (["b"], ["a"])
    features = datasets.Features(
        {
            "query": datasets.Value("string"),
            "docs": datasets.Sequence(datasets.Value("string")),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["relevant", "not relevant"])),
        }
    )
    data = datasets.Dataset.from_list([{**record, "labels": [0, 1]}], features=features)
    [row] = read_rows(data)
    assert (row["pos"], row["neg"]) == (["a"], ["b"])


def test_a_table_with_damaged_metadata_is_read_without_it(tmp_path):
    table = pa.table({"sentence1": ["q", "q"], "sentence2": ["a", "b"], "label": [1, 0]})
    for content in (b"\xff", b"[]", b'{"info": {"features": {"label": {"names": 3}}}}'):
        pq.write_table(
            table.replace_schema_metadata({b"huggingface": content}), tmp_path / "a.parquet"
        )
        [row] = read_rows(tmp_path / "a.parquet")
        assert (row["pos"], row["neg"]) == (["a"], ["b"])


# -- Quora -----------------------------------------------------------------------------------------

PAIRS = [("How do I cook rice?", "How is rice cooked?", 1), ("How do I cook rice?", "Why?", 0)]


def test_quora_as_on_the_hub(tmp_path):
    records = [
        {"questions": {"id": [7, 8 + n], "text": [first, second]}, "is_duplicate": bool(label)}
        for n, (first, second, label) in enumerate(PAIRS)
    ]
    structs = [
        {**record, "questions": [{"id": i, "text": t} for i, t in zip(*parts, strict=True)]}
        for record in records
        for parts in [(record["questions"]["id"], record["questions"]["text"])]
    ]
    texts = [{**record, "questions": record["questions"]["text"]} for record in records]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "quora.parquet")
    for source in (records, structs, texts, str(tmp_path / "quora.parquet")):
        [row] = read_rows(source)
        assert (row["pos"], row["neg"]) == (["How is rice cooked?"], ["Why?"])
        assert row["query_id"] == (None if source is texts else 7)


def test_the_raw_file_of_quora(folder):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    lines = [f'"{n}"\t"7"\t"{n}"\t"{a}"\t"{b}"\t"{c}"\n' for n, (a, b, c) in enumerate(PAIRS)]
    assert folder.row(header + "".join(lines), "quora.tsv") == {
        "query": "How do I cook rice?",
        "pos": ["How is rice cooked?"],
        "neg": ["Why?"],
        "query_id": "7",
    }


def test_the_lines_of_snli(folder):
    records = [
        {"annotator_labels": ["neutral"], "gold_label": label, "pairID": f"1r{n}"}
        | {"sentence1": "Er kocht.", "sentence2": TEXTS[n], "sentence1_parse": "(ROOT)"}
        for n, label in enumerate([*NLI, "-"])
    ]
    assert folder.row(records) == {"query": "Er kocht.", "pos": [TEXTS[0]], "neg": [TEXTS[2]]}
    assert folder.left_out == {"neutral pairs": 1, "pairs without a gold label": 1}


def test_integers_without_names_are_asked_for_with_what_each_choice_means(folder):
    records = [{"premise": "p", "hypothesis": f"h {n}", "label": n} for n in (0, 1, 2, -1)]
    choices = "0 is entailment, 1 neutral and 2 contradiction.*give threshold: 1, which makes label"
    with pytest.raises(DataError, match=choices):
        folder.rows(records)
    for first, second in (
        ("premise", "hypothesis"),
        ("question", "sentence"),
        ("claim", "evidence"),
    ):
        with pytest.raises(DataError, match=choices):  # 0 may be a match here
            folder.rows([{first: "p", second: f"h {n}", "label": n} for n in (0, 1)])
    with pytest.raises(DataError, match="-1 may mean no match, or that a pair has no label"):
        folder.rows([{"text1": "a", "text2": f"b {n}", "label": n} for n in (1, -1)])


# -- a row's task and instruction ------------------------------------------------------------------


def turn(text):
    return {"role": "user", "content": text}


def pair(text, **more):
    return {"sentence1": "q", "sentence2": text, "label": 1, **more}


def messages(text, **more):
    return {"messages": [turn("q")], "positive_messages": [[turn(text)]], **more}


def ranked(text, **more):
    return {"query_id": 1, "query": "q", "doc_id": text, "text": text, "rank": 1, **more}


@pytest.mark.parametrize("make", [pair, messages, ranked])
def test_rows_of_several_records_have_their_task_and_instruction(folder, make):
    own = {"task": "law", "instruction": {"query": "Find: ", "key": "Law: "}}
    [row] = folder.rows([make("a", **own), make("b", **own)])
    assert {name: row[name] for name in own} == own
    assert row["pos"] or row["candidates"] == ["a", "b"]


@pytest.mark.parametrize("make", [pair, messages])
def test_records_of_other_tasks_are_other_rows(folder, make):
    rows = folder.rows([make("a", task="law"), make("b", task="news"), make("c", task="law")])
    assert [(row["task"], row["pos"]) for row in rows] == [("law", ["a", "c"]), ("news", ["b"])]


def test_a_bad_task_of_grouped_rows_is_an_error_at_its_record(folder):
    path = folder.write("rows.jsonl", [pair("a"), {**pair("b", task=3), "sentence1": "r"}])
    with pytest.raises(DataError, match=r"line 2.*task: expected a string, found 3"):
        list(read_rows(path))
