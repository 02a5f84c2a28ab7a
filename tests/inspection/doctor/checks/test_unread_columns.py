import pytest
from doctor_cases import SOUND, opened, row, write

from llm_embedder_data import RetrievalDataModule

TEXTS = row("how deep is it", ["it is deep"], ["no ship"])
READ = [
    TEXTS | {"teacher_scores": [2, 1], "query_id": "a", "task": "qa", "instruction": "Answer: "},
    TEXTS | {"answers": ["deep"], "context": "a map"},
    TEXTS | {"answer": "deep", "qid": 3},
    {"query": "q", "history": ["one turn", "two turns"], "teacher_scores": [1, 2], "task": "qa"},
    TEXTS | {"prompt": "Answer: ", "pos_scores": [1.0], "neg_scores": [0.5], "type": "normal"},
    {"query": "q", "pos": ["p one"], "query_prompt": "Q: ", "passage_prompt": "P: "},
    {"anchor": "a question", "positive": "an answer", "negative": "another"},
]


def found(diagnosis, name="set"):
    return diagnosis["datasets"][name]["checks"]["unread_columns"]


@pytest.mark.parametrize("record", READ, ids=lambda record: "+".join(record))
def test_no_column_that_is_read_is_reported(tmp_path, minilm, record):
    settings = {"select_positive": "teacher"} if "history" in record else {}
    module = opened(tmp_path, minilm, {"set": [record] * 3}, on_no_negatives="keep", **settings)

    assert found(module.diagnose()) == {"count": 0, "examples": []}


def test_unread_columns_are_reported_with_their_file(tmp_path, minilm):
    rows = [{**one, "label": 1, "hard_negatives": []} for one in SOUND]
    diagnosis = opened(tmp_path, minilm, {"set": rows}).diagnose()

    names = [example["text"] for example in found(diagnosis)["examples"]]
    assert (found(diagnosis)["count"], names) == (2, ["label", "hard_negatives"])
    line = next(line for line in str(diagnosis).splitlines() if "unread_columns" in line)
    assert line.rstrip().endswith(" t.jsonl")


def test_columns_that_a_format_leaves_unread_are_reported(tmp_path, minilm):
    record = TEXTS | {"pos_scores": [1.0], "neg_scores": [2.0], "passage_instruction": "x"}

    diagnosis = opened(tmp_path, minilm, {"set": [record] * 3}).diagnose()

    assert [example["text"] for example in found(diagnosis)["examples"]] == ["passage_instruction"]


def test_a_column_that_the_source_names_is_read(tmp_path, minilm):
    path = write(tmp_path / "t.jsonl", [{**one, "hard_negatives": ["no"]} for one in SOUND])
    module = RetrievalDataModule(
        str(minilm),
        {"set": {"path": path, "neg": "hard_negatives"}},
        batch_size=2,
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    module.setup("fit")

    examples = found(module.diagnose())["examples"]
    assert [example["text"] for example in examples] == ["neg"]


def test_of_a_source_with_several_tasks_only_those_of_its_own_files_are_reported(tmp_path, minilm):
    for task, extra in (("qa", {}), ("tool", {"label": 1})):
        rows = [one | {"task": task} | extra for one in SOUND]
        write(tmp_path / "data" / f"{task}.jsonl", rows)
    write(tmp_path / "large.jsonl", SOUND * 2)
    module = RetrievalDataModule(
        str(minilm),
        {"all": str(tmp_path / "data" / "*.jsonl"), "large": str(tmp_path / "large.jsonl")},
        batch_size=8,
        small_datasets="drop",
        cache_dir=tmp_path / "cache",
    )
    module.prepare_data()
    with pytest.warns(UserWarning, match="not read") as warned:
        module.setup()

    assert "all:qa, all:tool: tool.jsonl: 1 column is not read" in str(warned[0].message)
    assert len([one for one in warned if "not read" in str(one.message)]) == 1
    diagnosis = module.diagnose()
    assert found(diagnosis, "all:qa")["count"] == 0
    assert [example["text"] for example in found(diagnosis, "all:tool")["examples"]] == ["label"]
    for name in ("qa", "tool"):
        (below,) = diagnosis["datasets"][f"all:{name}"]["checks"]["below_global_batch"]["examples"]
        assert below["file"].endswith(f"{name}.jsonl")
