"""Row numbers to groups, through real files."""

import itertools
import json
import pickle

import numpy as np
import pytest

from llm_embedder_data.batches.groups.eval_rows import CorpusPassages, EvalQueries
from llm_embedder_data.batches.groups.train_groups import TrainGroups
from llm_embedder_data.batches.groups.train_rows import TrainRows
from llm_embedder_data.batches.plan.sampler import BatchIndex
from llm_embedder_data.config.recipes import Instruction, load_recipe
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.corpora import build_corpus
from llm_embedder_data.rows.eval_sets import build_eval_sets
from llm_embedder_data.rows.schema.evaluation import eval_fields
from llm_embedder_data.rows.schema.train import TRAIN_FIELDS
from llm_embedder_data.rows.selection.train_settings import TrainSettings
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.train_sets import build_train_sets

RECIPE = load_recipe("e5")


@pytest.fixture
def train_set(tmp_path):
    """A function: rows and settings to a training set of one task."""
    number = itertools.count()

    def train_set(rows, on_no_negatives="keep", **settings):
        path = tmp_path / f"{next(number)}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        [source] = resolve_sources(str(path), setting="data.train_data", fields=TRAIN_FIELDS)
        [made] = build_train_sets(
            source,
            ReadingSettings(RECIPE, cache_dir=tmp_path),
            settings_of=lambda task: TrainSettings(**settings),
            on_no_negatives=on_no_negatives,
        )
        return made

    return train_set


def number_of(key):
    return float(key.removeprefix("key "))


def numbered_rows(n_rows, n_pos=2, n_neg=9, scored=lambda row: True):
    """Rows whose scores can be read off their texts: key j of row i has the score 100 i + j."""
    rows = []
    for i in range(n_rows):
        keys = [f"key {100 * i + j}" for j in range(n_pos + n_neg)]
        row = {"query": f"q{i}", "pos": keys[:n_pos], "neg": keys[n_pos:]}
        if scored(i):
            row["teacher_scores"] = [number_of(key) for key in keys]
        rows.append(row)
    return rows


@pytest.mark.parametrize("select_positive", ["first", "random", "teacher", "teacher-pos"])
@pytest.mark.parametrize("select_negative", ["first", "random", "teacher+", "teacher-"])
def test_scores_stay_with_their_texts(train_set, select_positive, select_negative):
    rows = TrainRows(
        train_set(
            numbered_rows(6),
            select_positive=select_positive,
            select_negative=select_negative,
            stable_distill=True,
        ),
        group_size=5,
        seed=3,
    )

    groups = rows.groups(np.array([4, 0, 2]), epoch=1)

    assert groups.teacher_scores.tolist() == [
        [number_of(key) for key in keys] for keys in groups.key
    ]
    assert groups.query == ["q4", "q0", "q2"]
    assert groups.query_id == [4, 0, 2]
    assert all(np.diff(groups.teacher_scores[:, 1:]).ravel() < 0)


def same(groups, other, at):
    """Whether row 0 of ``groups`` is row ``at`` of ``other``."""
    return (
        groups.query[0] == other.query[at]
        and groups.key[0] == other.key[at]
        and np.array_equal(groups.teacher_scores[0], other.teacher_scores[at], equal_nan=True)
        and groups.query_id[0] == other.query_id[at]
        and groups.key_id.tolist() == other.key_id.reshape(len(other.query), -1)[at].tolist()
    )


def test_a_batch_of_one_row_is_that_row_of_a_larger_batch(train_set):
    made = train_set(numbered_rows(9, scored=lambda row: row % 3 > 0))
    rows = TrainRows(made, group_size=4, seed=1)
    together = rows.groups(made.kept, epoch=0)

    for at, row in enumerate(made.kept):
        assert same(rows.groups(np.array([row]), epoch=0), together, at)


def test_a_row_without_scores_has_nan_and_the_batch_keeps_its_keys(train_set):
    rows = TrainRows(train_set(numbered_rows(4, scored=lambda row: row == 1)), group_size=3, seed=1)

    scores = rows.groups(np.array([0, 1]), epoch=0).teacher_scores

    assert np.isnan(scores[0]).all()
    assert np.isfinite(scores[1]).all()
    assert np.isnan(rows.groups(np.array([2, 3]), epoch=0).teacher_scores).all()


def test_a_dataset_without_any_score_has_none(train_set):
    rows = TrainRows(train_set(numbered_rows(2, scored=lambda row: False)), group_size=3, seed=1)

    assert rows.groups(np.array([0, 1]), epoch=0).teacher_scores is None


def test_a_row_without_negatives_is_filled_up_and_masked(train_set):
    lonely = {"query": "q", "pos": ["p", "p2"], "neg": ["p"], "teacher_scores": [1.0, 2.0, 3.0]}
    made = train_set([lonely, *numbered_rows(1)], select_negative="first")

    groups = TrainRows(made, group_size=3, seed=1).groups(np.array([0, 1]), epoch=0)

    assert groups.key == [["p", "", ""], ["key 0", "key 2", "key 3"]]
    assert groups.key_mask.tolist() == [[1, 0, 0], [1, 1, 1]]
    assert groups.teacher_scores[0].tolist() == [1.0, 0.0, 0.0]
    assert (groups.key_id == 0).tolist() == [False, True, True, False, False, False]


def test_ids_are_hashes_of_texts_and_name_all_positives(train_set):
    made = train_set(
        [
            {"query": "a", "pos": ["x", "y"], "neg": ["z"]},
            {"query": "b", "pos": ["z"], "neg": ["x"]},
        ]
    )

    groups = TrainRows(made, group_size=2, seed=1).groups(np.array([0, 1]), epoch=0)

    x, y, z = text_ids(["x", "y", "z"]).tolist()
    assert groups.key_id.tolist() == [x, z, z, x]
    assert groups.positive_id.tolist() == [[x, y], [z, 0]]


def test_a_negative_that_the_teacher_made_the_positive_is_known_as_one(train_set):
    made = train_set(
        [{"query": "a", "pos": ["x"], "neg": ["y", "z"], "teacher_scores": [1.0, 3.0, 2.0]}],
        select_positive="teacher",
    )

    groups = TrainRows(made, group_size=2, seed=1).groups(np.array([0]), epoch=0)

    assert groups.key == [["y", "z"]]
    assert groups.positive_id.tolist() == [text_ids(["x", "y"]).tolist()]


def test_the_hash_of_a_text_never_changes():
    assert text_ids(["night ferry"]).tolist() == [5569482305426469507]


def test_a_history_row_has_the_teachers_choice_as_its_positive(train_set):
    row = {"query": "q", "history": ["one", "two", "three"], "teacher_scores": [0.1, 0.9, 0.5]}
    made = train_set([row], select_positive="teacher", select_negative="first")

    groups = TrainRows(made, group_size=3, seed=1).groups(np.array([0]), epoch=0)

    assert groups.key == [["two", "one", "three"]]
    assert groups.positive_id.tolist() == [text_ids(["two"]).tolist()]


def test_no_rows_are_no_groups(train_set):
    groups = TrainRows(train_set(numbered_rows(2)), group_size=3, seed=1).groups(
        np.array([], np.int64), epoch=0
    )

    assert (groups.query, groups.key) == ([], [])
    assert groups.key_mask.shape == (0, 3)


def test_draws_differ_by_epoch_and_pass_and_are_the_same_again(train_set):
    made = train_set(numbered_rows(8, n_pos=3, n_neg=30), select_positive="random")
    rows = TrainRows(made, group_size=4, seed=1)

    def keys(epoch, repeat=0, seed=1):
        return TrainRows(made, 4, seed).groups(made.kept, epoch, repeat).key

    assert rows.groups(made.kept, 0).key == keys(0)
    drawn = [keys(0), keys(1), keys(0, repeat=1), keys(0, seed=2)]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))


def test_an_index_gives_the_batch_of_its_dataset_whatever_else_there_is(train_set):
    one, other = train_set(numbered_rows(4)), train_set(numbered_rows(6)[4:])
    sets = {"one": one, "other": other}
    put = {"one": Instruction("find: ", "passage: "), "other": Instruction()}
    groups = TrainGroups({name: TrainRows(made, 3, 1) for name, made in sets.items()}, put)

    batch = groups[BatchIndex(epoch=0, step=5, dataset="one", rows=(3, 1))]

    assert len(groups) == 6
    assert batch["query"] == ["q3", "q1"]
    assert (batch["query_instruction"], batch["key_instruction"]) == ("find: ", "passage: ")
    assert batch["row"].tolist() == [3, 1]
    assert batch["teacher_scores"].dtype == np.float32
    assert (batch["task"], batch["in_batch_negatives"]) == ("qa", True)
    assert groups[BatchIndex(0, 0, "other", (0,))]["query"] == ["q4"]


def test_places_count_kept_rows_and_rows_count_the_files(train_set):
    rows = numbered_rows(4)
    rows[1]["neg"] = []
    rows[1]["teacher_scores"] = rows[1]["teacher_scores"][:2]
    made = train_set(rows, on_no_negatives="drop")
    groups = TrainGroups({"a": TrainRows(made, 3, 1)}, {"a": Instruction()})

    batch = groups[BatchIndex(0, 0, "a", (0, 1, 2))]

    assert made.dropped == {"no_negatives": 1}
    assert batch["query"] == ["q0", "q2", "q3"]
    assert batch["row"].tolist() == [0, 2, 3]


def test_groups_survive_pickling(train_set):
    groups = TrainGroups({"a": TrainRows(train_set(numbered_rows(4)), 3, 1)}, {"a": Instruction()})
    index = BatchIndex(2, 0, "a", (2, 0))

    again = pickle.loads(pickle.dumps(groups))[index]

    assert again["key"] == groups[index]["key"]


def test_eval_queries_keep_ids_and_pad_their_positives(tmp_path):
    path = tmp_path / "eval.jsonl"
    rows = [
        {"query": "a", "query_id": 7, "pos_index": [3, 1]},
        {"query": "b", "query_id": "x"},
        {"query": "c", "pos_index": [2]},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    [source] = resolve_sources(str(path), setting="data.eval_data", fields=eval_fields("retrieve"))
    [eval_set] = build_eval_sets(
        source, ReadingSettings(RECIPE, cache_dir=tmp_path), eval_method="retrieve"
    )

    batch = EvalQueries(eval_set, Instruction("find: "), "corpus")[np.array([2, 0, 1])]

    assert batch["query"] == ["c", "a", "b"]
    assert batch["query_instruction"] == "find: "
    assert batch["query_id"] == [2, 7, "x"]
    assert batch["pos_index"].tolist() == [[2, -1], [3, 1], [-1, -1]]
    assert (batch["corpus"], batch["task"]) == ("corpus", "qa")


@pytest.mark.parametrize(
    ("row", "keys", "key_index", "pos_index"),
    [
        ({"key": ["x", "y"]}, ["x", "y"], [0, 1], [-1]),
        ({"key": ["x", "y"], "key_index": [8, 4], "pos_index": [4]}, ["x", "y"], [8, 4], [4]),
        ({"pos": ["x"], "neg": ["y", "z"]}, ["x", "y", "z"], [0, 1, 2], [0]),
        (
            {"pos": ["x"], "neg": ["y"], "pos_index": [8], "neg_index": [4]},
            ["x", "y"],
            [8, 4],
            [8],
        ),
        ({"pos": ["x"], "neg": ["y"], "pos_index": [8]}, ["x", "y"], [0, 1], [0]),
        ({"pos": ["x"], "neg": ["y"], "key_index": [5, 6]}, ["x", "y"], [5, 6], [5]),
    ],
)
def test_candidates_of_reranking_and_their_indices(tmp_path, row, keys, key_index, pos_index):
    path = tmp_path / "eval.jsonl"
    path.write_text(json.dumps({"query": "q", **row}))
    [source] = resolve_sources(str(path), setting="data.eval_data", fields=eval_fields("rerank"))
    [eval_set] = build_eval_sets(
        source, ReadingSettings(RECIPE, cache_dir=tmp_path), eval_method="rerank"
    )

    batch = EvalQueries(eval_set, Instruction())[np.array([0])]

    assert batch["key"] == [keys]
    assert batch["key_index"].tolist() == [key_index]
    assert batch["pos_index"].tolist() in ([pos_index], [[]] if pos_index == [-1] else None)


def test_passages_are_texts_by_template_with_their_numbers(tmp_path):
    path = tmp_path / "corpus.jsonl"
    rows = [{"title": None, "text": "one"}, {"title": "T", "text": "two"}, {"text": "None"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    [source] = resolve_sources(str(path), setting="data.corpus", fields=("title", "text"))
    corpus = build_corpus(source, ReadingSettings(RECIPE, cache_dir=tmp_path))

    batch = CorpusPassages(corpus, "passage: ", "view")[np.array([2, 0, 1])]

    assert batch["content"] == ["None", "one", "T two"]
    assert batch["index"].tolist() == [2, 0, 1]
    assert (batch["key_instruction"], batch["dataset"]) == ("passage: ", "view")
