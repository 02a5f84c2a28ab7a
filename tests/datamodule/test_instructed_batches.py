"""A row's own instruction stands in place of the recipe's, on the fly and from cached tokens."""

import json
import tempfile
import warnings
from pathlib import Path

import pytest
from datamodule_cases import (
    Recorder,
    batches,
    digest,
    examples,
    make_trainer,
    opened,
    write,
)
from example_counts import tried
from hypothesis import example, given
from hypothesis import strategies as st
from slow_cases import mostly_slow
from transformers import AutoTokenizer

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule

RECIPE = {"instruction": {"qa": {"query": "ask: ", "key": "find "}}}

# Where these end, "ask: b" may be an instruction and a text, or an instruction and another text.
INSTRUCTIONS = st.sampled_from([None, "", "ask: ", "ask: b", "a", "tell me, ", "é", "find "])
TEXTS = st.sampled_from(["a", "b", "b c d e f g h i j k", "bb", " b", "é", "f i n d", "z."])
LAYOUTS = [
    {},
    {"layout": "chunked", "chunk_size": 3, "unique_keys": True},
    {"layout": "packed"},
    {"layout": "packed", "unique_keys": True},
    {"unique_keys": True},
    {"cross": True},
]


@st.composite
def mixed_rows(draw):
    rows = []
    for _ in range(draw(st.integers(3, 7))):
        row = {
            "query": draw(TEXTS),
            "pos": draw(st.lists(TEXTS, min_size=1, max_size=2)),
            "neg": draw(st.lists(TEXTS, max_size=4)),
        }
        kind = draw(st.sampled_from(["missing", "null", "query", "both"]))
        if kind == "null":
            row["instruction"] = None
        elif kind == "query":
            row["instruction"] = draw(INSTRUCTIONS)
        elif kind == "both":
            row["instruction"] = {"query": draw(INSTRUCTIONS), "key": draw(INSTRUCTIONS)}
        rows.append(row)
    return rows


def in_force(row):
    """The instructions of a row, as the rule says in one sentence."""
    own = row.get("instruction")
    own = own if isinstance(own, dict) else {"query": own}
    recipe = RECIPE["instruction"]["qa"]
    return {side: recipe[side] if own.get(side) is None else own[side] for side in recipe}


def made(folder, rows, tokenizer, **arguments):
    path = write(Path(folder) / "qa" / "train.jsonl", rows)
    defaults = {
        "train_data": {"qa": str(path)},
        "recipe": RECIPE,
        "default_task": "qa",
        "cache_dir": str(Path(folder) / "cache"),
        "batch_size": 3,
        "train_group_size": 3,
        "query_max_length": 24,
        "key_max_length": 24,
        "num_workers": 0,
        "on_no_negatives": "keep",
        "seed": 5,
    }
    return opened(RetrievalDataModule(tokenizer, **(defaults | arguments)))


@pytest.fixture(
    scope="module", params=mostly_slow(["byte_level_bpe", "unigram", "minilm"], "unigram")
)
def tokenizer_folder(request):
    return request.getfixturevalue(request.param)


LONG = "b c d e f g h i j k l m n"
CUT = [
    {"query": LONG, "pos": [LONG], "neg": [LONG, "z"], "instruction": instruction}
    for instruction in ({"query": "tell me, ", "key": "a"}, {"query": "", "key": "tell me, "}, None)
]


@tried(12)
@example(rows=CUT, side="left", layout={}, lengths=(14, 14))
@example(rows=CUT, side="left", layout={"cross": True}, lengths=(14, 14))
@example(rows=CUT, side="right", layout={"cross": True}, lengths=(14, 14))
@example(rows=CUT[:2] + CUT[:1], side="left", layout={"unique_keys": True}, lengths=(14, 14))
@given(
    rows=mixed_rows(),
    side=st.sampled_from(["left", "right"]),
    layout=st.sampled_from(LAYOUTS),
    lengths=st.sampled_from([(32, 32), (14, 14)]),
)
def test_cached_batches_of_mixed_rows_are_those_made_on_the_fly(
    tokenizer_folder, rows, side, layout, lengths
):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, truncation_side=side)
    arguments = dict(zip(("query_max_length", "key_max_length"), lengths, strict=True)) | layout
    with tempfile.TemporaryDirectory() as folder:
        wanted, found = (
            [digest(b) for b in batches(made(folder, rows, tokenizer, tokenize=how, **arguments))]
            for how in ("on-the-fly", "cached")
        )

    assert wanted
    assert found == wanted


@tried(12)
@given(rows=mixed_rows(), how=st.sampled_from(["on-the-fly", "cached"]))
def test_tokens_are_those_of_texts_that_hold_their_instruction(tokenizer_folder, rows, how):
    written = [
        {
            "query": in_force(row)["query"] + row["query"],
            "pos": [in_force(row)["key"] + text for text in row["pos"]],
            "neg": [in_force(row)["key"] + text for text in row["neg"]],
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        found = batches(made(folder, rows, tokenizer_folder, tokenize=how))
        wanted = batches(made(other, written, tokenizer_folder, add_instruction=False))

    for batch, expected in zip(found, wanted, strict=True):
        is_real = batch["key_mask"].tolist()
        assert is_real == expected["key_mask"].tolist()
        ours, theirs = examples(batch), examples(expected)
        for at, row in enumerate(ours):
            assert ours[row][0] == theirs[row][0]
            for g, real in enumerate(is_real[at]):
                if real:
                    assert ours[row][1][g] == theirs[row][1][g]


def test_a_key_has_the_id_of_its_text_without_the_instruction(tmp_path, byte_level_bpe):
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"], "instruction": {"key": f"{i} "}}
            for i in range(3)]  # fmt: skip
    for how in ("on-the-fly", "cached"):
        [batch] = batches(made(tmp_path, rows, byte_level_bpe, tokenize=how, batch_size=3))
        assert len(set(batch["key_id"].tolist())) == 2
        assert len({tuple(keys[0]) for _, keys, _ in examples(batch).values()}) == 3


def test_add_instruction_false_turns_own_instructions_off(tmp_path, byte_level_bpe):
    row = {"query": "q", "pos": ["p"], "neg": ["n"]}
    rows = [row | {"instruction": {"query": "own ", "key": "mine "}}] * 3
    for how in ("on-the-fly", "cached"):
        found = made(tmp_path / "own", rows, byte_level_bpe, add_instruction=False, tokenize=how)
        wanted = made(tmp_path / "none", [row] * 3, byte_level_bpe, add_instruction=False)
        assert [digest(b) for b in batches(found)] == [digest(b) for b in batches(wanted)]
        assert found.report()["train"]["qa"]["rows_with_own_instructions"] == 0
    nothing = {"instruction": {"qa": {"query": "", "key": ""}}}
    with_own, cached = (
        made(tmp_path / "own", rows, byte_level_bpe, tokenize=how, recipe=nothing)
        for how in ("on-the-fly", "cached")  # another table than that without
    )
    assert [digest(b) for b in batches(cached)] == [digest(b) for b in batches(with_own)]
    assert with_own.report()["train"]["qa"]["rows_with_own_instructions"] == 3
    assert "qa: 3 rows have an instruction of their own" in str(with_own.report())


def test_eval_queries_have_their_own_instructions(tmp_path, byte_level_bpe):
    queries = ["one", "two", "three"]
    own = [{"query": "mine: "}, None, ""]
    rows = [
        {"query": query, "pos_index": [0], **({} if text is None else {"instruction": text})}
        for query, text in zip(queries, own, strict=True)
    ]
    arguments = {
        "train_data": None,
        "eval_data": {"qa": str(write(tmp_path / "qa" / "eval.jsonl", rows))},
        "corpus": {"qa": str(write(tmp_path / "qa" / "corpus.jsonl", [{"text": "x"}]))},
        "key_template": "{text}",
        "cache_dir": str(tmp_path / "cache"),
        "recipe": RECIPE,
        "num_workers": 0,
    }
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    wanted = tokenizer(["mine: one", "ask: two", "three"])["input_ids"]
    for how in ("on-the-fly", "cached"):
        datamodule = opened(
            RetrievalDataModule(tokenizer, tokenize=how, **arguments), stage="validate"
        )
        [batch] = list(datamodule.val_dataloader()["qa"])
        tokens = batch["query"]
        found = [
            row[mask.bool()].tolist()
            for row, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
        ]
        assert found == wanted
        assert datamodule.report()["eval"]["qa"]["rows_with_own_instructions"] == 2


@pytest.mark.parametrize("side", ["query", "key"])
def test_an_own_instruction_that_leaves_no_room_is_refused(tmp_path, byte_level_bpe, side):
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"]} for _ in range(3)]
    rows[1]["instruction"] = {side: "far too long " * 20}
    with pytest.raises(ConfigError, match=rf"data\.{side}_max_length=24.*far too long"):
        made(tmp_path, rows, byte_level_bpe)


def test_a_run_does_not_go_on_with_other_instructions_of_rows(tmp_path, byte_level_bpe):
    def datamodule(text):
        rows = [
            {"query": f"q{i}", "pos": ["p"], "neg": ["n"], "instruction": text} for i in range(6)
        ]
        return made(tmp_path, rows, byte_level_bpe)

    trainer = make_trainer(max_steps=1)
    trainer.fit(Recorder(), datamodule=datamodule("own "))
    trainer.save_checkpoint(tmp_path / "one.ckpt")

    with pytest.raises(ConfigError, match="dataset qa, files"):
        make_trainer(max_steps=2).fit(
            Recorder(), datamodule=datamodule("other "), ckpt_path=str(tmp_path / "one.ckpt")
        )
    make_trainer(max_steps=2).fit(
        Recorder(), datamodule=datamodule("own "), ckpt_path=str(tmp_path / "one.ckpt")
    )


def notes_of(datamodule):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        datamodule.prepare_data()
        datamodule.setup("fit")
        datamodule.setup("fit")
    return [str(one.message) for one in caught if "begins with an instruction" in str(one.message)]


@pytest.mark.parametrize(
    ("row", "arguments", "share"),
    [
        ({"query": "ask: q"}, {}, "50%"),
        ({"query": "search_query: q"}, {}, "50%"),
        ({"pos": ["find p"]}, {}, "50%"),
        ({"query": "mine: q", "instruction": "mine: "}, {}, "50%"),
        ({"query": "ask: q", "instruction": ""}, {}, None),
        ({"query": "ask: q"}, {"add_instruction": False}, None),
        ({}, {}, None),
    ],
)
def test_a_prompt_that_is_in_the_text_already_is_said_once(
    tmp_path, byte_level_bpe, row, arguments, share
):
    plain = {"query": "q", "pos": ["p"], "neg": ["n"]}
    path = write(tmp_path / "qa" / "train.jsonl", [plain | row, plain] * 5)
    notes = notes_of(
        RetrievalDataModule(
            byte_level_bpe,
            {"qa": str(path)},
            recipe=RECIPE,
            batch_size=2,
            cache_dir=str(tmp_path / "cache"),
            num_workers=0,
            **arguments,
        )
    )
    assert [note.startswith(f"qa: {share} of the rows") for note in notes] == [True] * bool(share)


def test_prompt_lengths_are_those_of_each_rows_instruction(tmp_path, byte_level_bpe):
    from llm_embedder_data import RetrievalDataCollator
    from llm_embedder_data.batches.tokens.row_instructions import RowInstructions

    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    collate = RetrievalDataCollator(tokenizer, prompt_lengths=True)
    batch = collate(
        {
            "query": ["one", "two"],
            "query_instruction": RowInstructions("ask: ", ["", None]),
            "key": [["a", "b"], ["c"]],
            "key_instruction": RowInstructions("", ["find ", None]),
        }
    )
    n_ask, n_find = (len(tokenizer(text)["input_ids"]) - 1 for text in ("ask: ", "find "))
    assert batch["query_prompt_length"].tolist() == [0, n_ask]
    assert batch["key_prompt_length"].tolist() == [n_find, n_find, 0, 0]


def test_teacher_scores_are_scaled_by_the_numbers_of_the_kept_rows(tmp_path, byte_level_bpe):
    rows = [
        {
            "query": f"q{i}",
            "pos": ["p"],
            "neg": ["n", "m"],
            **({} if i == 2 else {"teacher_scores": [8.0 + i, 4.0, 2.0]}),
        }
        for i in range(6)
    ]
    rows.append({"query": "x", "pos": ["p"], "neg": ["n", "m"], "teacher_scores": [-9, -9, -9.0]})
    kept = [score for row in rows[:6] for score in row.get("teacher_scores", [])]
    mean = sum(kept) / len(kept)
    deviation = (sum((score - mean) ** 2 for score in kept) / len(kept)) ** 0.5
    plain = {"teacher_scores_min": 0.0, "batch_size": 6, "train_group_size": 4}
    expected = {"minmax": (2.0, 11.0), "zscore": (mean, deviation), None: (0.0, 1.0)}
    for method, (shift, scale) in expected.items():
        for how in ("on-the-fly", "cached"):
            datamodule = made(
                tmp_path, rows, byte_level_bpe, tokenize=how, normalize_scores=method, **plain
            )
            [batch] = batches(datamodule)
            for row, scores in zip(batch["row"].tolist(), batch["teacher_scores"], strict=True):
                if row == 2:
                    assert scores.isnan().all()
                else:
                    best, *others = scores.tolist()
                    assert best == pytest.approx((8.0 + row - shift) / scale)
                    assert sorted(others[:2]) == pytest.approx(
                        [(2.0 - shift) / scale, (4.0 - shift) / scale]
                    )
            assert datamodule.report()["train"]["qa"]["settings"]["normalize_scores"] == method


EQUAL = [{"query": f"q{i}", "pos": ["p"], "neg": ["n"], "teacher_scores": [3, 3]} for i in range(3)]
UNSCORED = [{"query": f"q{i}", "pos": ["p"], "neg": ["n"]} for i in range(3)]


@pytest.mark.parametrize("method", ["minmax", "zscore"])
def test_equal_scores_cannot_be_scaled(tmp_path, byte_level_bpe, method):
    with pytest.raises(DataError, match=f"dataset 'qa' are equal.*normalize_scores='{method}'"):
        made(tmp_path, EQUAL, byte_level_bpe, normalize_scores=method)
    recipe = RECIPE | {"training": {"qa": {"normalize_scores": method}}}
    datamodule = made(tmp_path, EQUAL, byte_level_bpe, recipe=recipe)
    assert batches(datamodule)[0]["teacher_scores"].tolist() == [[3.0, 3.0]] * 3
    entry = datamodule.report()["train"]["qa"]
    assert entry["settings"]["normalize_scores"] is None
    assert any("normalize_scores" in note for note in entry["notes"])


def test_scores_that_are_not_there_are_not_scaled(tmp_path, byte_level_bpe):
    datamodule = made(tmp_path, UNSCORED, byte_level_bpe, normalize_scores="minmax")
    assert batches(datamodule)[0]["teacher_scores"] is None


def test_a_sources_scaling_wins_over_the_arguments_and_that_over_the_recipes(
    tmp_path, byte_level_bpe
):
    rows = [
        {"query": f"q{i}", "pos": ["p"], "neg": ["n"], "teacher_scores": [i, -i]} for i in range(3)
    ]
    path = str(write(tmp_path / "qa" / "train.jsonl", rows))
    recipe = RECIPE | {"training": {"qa": {"normalize_scores": "minmax"}}}
    sources = {"plain": path, "own": {"path": path, "normalize_scores": "minmax"}}

    def in_force(**arguments):
        datamodule = made(tmp_path, rows, byte_level_bpe, train_data=sources, **arguments)
        entries = datamodule.report()["train"]
        return [entries[name]["settings"]["normalize_scores"] for name in sources]

    assert in_force() == [None, "minmax"]
    assert in_force(normalize_scores="zscore", recipe=recipe) == ["zscore", "minmax"]
    assert in_force(recipe=recipe) == ["minmax", "minmax"]
    with pytest.raises(ConfigError, match="normalize_scores='max'"):
        in_force(normalize_scores="max")
    sources["own"]["normalize_scores"] = "max"
    with pytest.raises(ConfigError, match=r"data\.train_data\.own\.normalize_scores='max'"):
        in_force()


def test_a_checkpoint_of_a_run_with_another_scaling_is_refused(tmp_path, byte_level_bpe):
    rows = [
        {"query": f"q{i}", "pos": ["p"], "neg": ["n"], "teacher_scores": [i, -i]} for i in range(6)
    ]
    before, same, other = (
        made(tmp_path, rows, byte_level_bpe, normalize_scores=method)
        for method in (None, None, "zscore")
    )
    trainer = make_trainer(max_steps=1)
    trainer.fit(Recorder(), datamodule=before)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    assert "normalize_scores" not in json.dumps(before.state_dict())  # as in earlier states
    make_trainer(max_steps=2).fit(Recorder(), datamodule=same, ckpt_path=str(tmp_path / "one.ckpt"))
    with pytest.raises(ConfigError, match="settings, normalize_scores"):
        make_trainer(max_steps=2).fit(
            Recorder(), datamodule=other, ckpt_path=str(tmp_path / "one.ckpt")
        )
