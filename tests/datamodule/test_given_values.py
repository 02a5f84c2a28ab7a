"""What a user gives wins, whatever it is; what nobody gives is the recipe's, or fits the rows."""

import json

import datasets
import pandas as pd
import pytest
from datamodule_cases import batches, make_datamodule, make_tokenizer, opened, write

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.config.recipes import load_recipe

RECIPE = {
    "instruction": {"*": {}},
    "training": {
        "*": {
            "select_positive": "teacher",
            "select_negative": "first",
            "stable_distill": True,
            "max_sample_num": 8,
            "teacher_scores_min": 0.5,
            "teacher_scores_margin": 0.25,
        }
    },
}
GIVEN = {
    "select_positive": ["first", "random", "teacher", "teacher-pos"],
    "select_negative": ["random", "first", "teacher+", "teacher-"],
    "stable_distill": [False, True],
    "max_sample_num": [1, 8, 100],
    "teacher_scores_min": [-1.0, 0, 0.5],
    "teacher_scores_margin": [0, 0.25, 2],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GIVEN.items() for value in values]
)
def test_a_value_that_is_given_wins_over_the_recipe_whatever_it_is(name, value):
    given = RetrievalDataModule(make_tokenizer(), recipe=RECIPE, **{name: value})
    silent = RetrievalDataModule(make_tokenizer(), recipe=RECIPE, **{name: None})

    assert getattr(given.task_settings("qa"), name) == value
    assert type(getattr(given.task_settings("qa"), name)) is type(value)
    assert getattr(silent.task_settings("qa"), name) == RECIPE["training"]["*"][name]


def test_nothing_given_and_nothing_in_the_recipe_are_the_defaults():
    settings = RetrievalDataModule(make_tokenizer(), recipe="bge").task_settings("qa")

    assert (settings.select_positive, settings.select_negative) == ("first", "random")
    assert settings.stable_distill is False
    assert settings.max_sample_num is None


def row(i, *, n_pos=1, n_neg=3, scored=False, best=None):
    texts = {
        "pos": [f"pos {i} {p}" for p in range(n_pos)],
        "neg": [f"neg {i} {n}" for n in range(n_neg)],
    }
    scores = [0.1] * (n_pos + n_neg)
    if best is not None:
        scores[best] = 0.9
    return {"query": f"query {i}", **texts, **({"teacher_scores": scores} if scored else {})}


def module_of(tmp_path, rows, **arguments):
    path = write(tmp_path / "mine" / "train.jsonl", rows)
    made = RetrievalDataModule(
        make_tokenizer(),
        str(path),
        **{"batch_size": 4, "num_workers": 0, "cache_dir": tmp_path / "cache", **arguments},
    )
    made.prepare_data()
    made.setup("fit")
    return made


def keys_of(module):
    """The keys of each query, the positive first, by query."""
    found = {}
    for batch in batches(module):
        keys = module.tokenizer.batch_decode(batch["key"]["input_ids"], skip_special_tokens=True)
        group = batch["key_mask"].shape[1]
        for b, number in enumerate(batch["row"].tolist()):
            found[number] = [key.replace(" ", "") for key in keys[b * group : (b + 1) * group]]
    return found


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_rows_with_scores_and_no_positive_leave_it_to_the_teacher(tmp_path, tokenize):
    labelled = [row(i, scored=True, best=2) for i in range(4)]
    candidates = [row(i, n_pos=0, n_neg=4, scored=True, best=2) for i in range(4, 8)]

    for name, rows, expected in (
        ("labelled", labelled, "first"),
        ("candidates", candidates, "teacher"),
        ("both", labelled + candidates, "first-else-teacher"),
    ):
        module = module_of(tmp_path / name, rows, tokenize=tokenize)
        positives = {number: keys[0] for number, keys in keys_of(module).items()}
        texts = [
            r["pos"][0] if r["pos"] else r["neg"][2] for r in rows
        ]  # the teacher's best is the third candidate

        assert module.report()["train"]["mine"]["settings"]["select_positive"] == expected
        assert positives == {i: text.replace(" ", "") for i, text in enumerate(texts)}


def test_a_positive_strategy_that_is_given_is_not_bent_to_the_rows(tmp_path):
    rows = [row(i, n_pos=0, n_neg=4, scored=True) for i in range(4)]

    with pytest.raises(DataError, match="no positive, which select_positive='first'"):
        module_of(tmp_path, rows, select_positive="first")


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
@pytest.mark.parametrize(("most", "keys"), [(1, 2), (2, 3), (7, 8), (30, 8)])
def test_no_key_is_wasted_where_no_row_has_so_many(tmp_path, tokenize, most, keys):
    rows = [row(i, n_neg=1 + i % most if i else most) for i in range(12)]

    module = module_of(tmp_path, rows, tokenize=tokenize)

    assert {batch["key_mask"].shape for batch in batches(module)} == {(4, keys)}
    notes = " ".join(module.report()["train"]["mine"]["notes"])
    negatives = "negative" if most == 1 else "negatives"
    said = f"no row has more than {most} hard {negatives}, so each query gets {keys} keys"
    assert (said in notes) is (keys < 8)
    n_short = sum(len(row["neg"]) < keys - 1 for row in rows)
    short = f"{n_short} of 12 rows have fewer than {keys - 1} hard negatives"
    assert (short in notes) is (n_short > 0)


def test_pairs_that_are_kept_have_one_key_each(tmp_path):
    rows = [row(i, n_neg=0) for i in range(8)]

    with pytest.raises(DataError, match="on_no_negatives=keep trains on pairs"):
        module_of(tmp_path / "drop", rows)
    module = module_of(tmp_path / "keep", rows, on_no_negatives="keep")

    for batch in batches(module):
        assert batch["key_mask"].tolist() == [[1]] * 4
        assert len(batch["key"]["input_ids"]) == 4
    entry = module.report()["train"]["mine"]
    assert entry["rows_without_negatives"] == 8
    assert any(
        "no row has a hard negative, so each query gets 1 key (" in n for n in entry["notes"]
    )


def test_the_recipes_published_values_stay_with_it():
    settings = RetrievalDataModule(make_tokenizer(), recipe="llm_embedder").task_settings("lrlm")

    assert settings.max_sample_num == load_recipe("llm_embedder").settings("lrlm").max_sample_num
    assert (settings.select_positive, settings.teacher_scores_margin) == ("teacher", 0.1)


def flag(path, kinds, n_neg=4):
    """Rows of FlagEmbedding, of given types."""
    records = [
        {
            "query": f"query {i}",
            "pos": [f"text of pos {i}"],
            "neg": [f"text of neg {i} {n}" for n in range(n_neg)],
            "prompt": "p: ",
            "type": kind,
        }
        for i, kind in enumerate(kinds)
    ]
    return write(path, records)


def test_a_query_of_type_only_1neg_has_two_keys(tmp_path):
    one = flag(tmp_path / "one.jsonl", ["only_1neg"] * 8)
    normal = flag(tmp_path / "normal.jsonl", ["normal"] * 8)
    data = {"one": str(one), "normal": str(normal)}

    datamodule = opened(make_datamodule(tmp_path, train_data=data, train_group_size=4))

    shapes = {
        batch["dataset"]: tuple(batch["key_mask"].shape) for batch in datamodule.train_dataloader()
    }
    assert shapes == {"one": (4, 2), "normal": (4, 4)}
    [note] = [n for n in datamodule.report()["train"]["one"]["notes"] if "only_1neg" in n]
    assert "each query gets 2 keys (data.train_group_size=4 asks for more)" in note


@pytest.mark.parametrize("kind", ["list", "data frame", "Dataset", "saved", "moved"])
def test_a_type_counts_wherever_the_rows_lie(tmp_path, kind):
    path = flag(tmp_path / "one.jsonl", ["only_1neg"] * 8)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    if kind == "list":
        data = records
    elif kind == "data frame":
        data = pd.DataFrame(records)
    elif kind == "moved":  # the rows' cache is that of the first file
        opened(make_datamodule(tmp_path, train_data={"a": str(path)}))
        data = str(path.rename(tmp_path / "moved.jsonl"))
    else:
        data = datasets.Dataset.from_list(records)
        if kind == "saved":
            data.save_to_disk(tmp_path / "saved")
            data = str(tmp_path / "saved")

    datamodule = opened(make_datamodule(tmp_path, train_data={"a": data}, train_group_size=4))

    assert {batch["key_mask"].shape[1] for batch in datamodule.train_dataloader()} == {2}


def test_a_type_does_not_count_for_files_of_another_format(tmp_path):
    flag(tmp_path / "a" / "one.jsonl", ["only_1neg"] * 8)
    write(tmp_path / "a" / "two.jsonl", [{"query": "q", "positive": "p", "negative": "n"}] * 8)
    data = {"a": str(tmp_path / "a" / "*.jsonl")}

    with pytest.raises(ConfigError, match=r"'a'.*one\.jsonl.*only_1neg.*separate source"):
        opened(make_datamodule(tmp_path, train_data=data))


@pytest.mark.parametrize("on_bad_row", ["raise", "skip"])
@pytest.mark.parametrize("other", ["normal", None, ["only_1neg"]])
def test_a_type_that_changes_within_a_file_is_a_bad_row(tmp_path, on_bad_row, other):
    path = flag(tmp_path / "one.jsonl", [*["only_1neg"] * 8, other])
    datamodule = make_datamodule(tmp_path, train_data={"a": str(path)}, on_bad_row=on_bad_row)

    if on_bad_row == "raise":
        with pytest.raises(DataError, match=r"one\.jsonl.*line 9.*type: .*began with 'only_1neg'"):
            opened(datamodule)
    else:
        assert len(opened(datamodule).train_sets()["a"].kept) == 8


def test_files_of_other_types_are_no_dataset_together(tmp_path):
    flag(tmp_path / "a" / "one.jsonl", ["only_1neg"] * 8)
    flag(tmp_path / "a" / "two.jsonl", ["normal"] * 8)
    data = {"a": str(tmp_path / "a" / "*.jsonl")}

    with pytest.raises(ConfigError, match=r"'a'.*only_1neg.*two keys.*separate source"):
        opened(make_datamodule(tmp_path, train_data=data))
