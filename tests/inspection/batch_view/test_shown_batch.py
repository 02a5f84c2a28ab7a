import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from inspection_cases import opened, rows_of, text, write
from transformers import AutoTokenizer, BertTokenizerFast, ByT5Tokenizer

from llm_embedder_data import ConfigError
from llm_embedder_data.training.retrieval_loss import competing_keys

LAYOUTS = {
    "padded": {},
    "chunked": {"layout": "chunked", "chunk_size": 3},
    "packed": {"layout": "packed"},
    "unique keys": {"unique_keys": True},
    "unique keys in chunks": {"unique_keys": True, "layout": "chunked", "chunk_size": 5},
    "cached": {"tokenize": "cached"},
    "cached and packed": {"tokenize": "cached", "layout": "packed"},
}
CASES = [(layout, "minilm", "right") for layout in LAYOUTS] + [
    ("padded", name, side) for name in ("byte_level_bpe", "unigram") for side in ("right", "left")
]
QUICK = [
    ("packed", "minilm", "right"),
    ("cached", "minilm", "right"),
    ("padded", "unigram", "left"),
]


def loaded(module, step, epoch=0):
    """The batch of a step as the training loader gives it."""
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)[step]


def real_ids(side):
    return [
        row[mask.bool()].tolist()
        for row, mask in zip(side["input_ids"], side["attention_mask"], strict=True)
    ]


def decoded_keys(batch):
    return [key["decoded"] for query in batch["queries"] for key in query["keys"]]


@pytest.mark.parametrize(
    ("layout", "name", "side"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_the_tokens_are_those_of_the_training_loader_in_every_layout(
    tmp_path, request, layout, name, side
):
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(name), truncation_side=side)
    plain = loaded(opened(tmp_path, tokenizer), 2, epoch=1)

    shown = opened(tmp_path, tokenizer, **LAYOUTS[layout]).show(2, epoch=1)

    assert [query["row"] for query in shown["queries"]] == plain["row"].tolist()
    assert [q["decoded"]["ids"] for q in shown["queries"]] == real_ids(plain["query"])
    assert [key["ids"] for key in decoded_keys(shown)] == real_ids(plain["key"])
    assert all(one["is_aligned"] for one in decoded_keys(shown))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("is_cross", [False, True])
def test_what_is_kept_and_what_is_cut_make_up_the_text(tmp_path, byte_level_bpe, side, is_cross):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe, truncation_side=side)
    shown = opened(tmp_path, tokenizer, cross=is_cross).show(1, rank=None, world_size=2)
    n_cut = 0

    for query in shown["queries"]:
        for key in query["keys"]:
            decoded = key["decoded"]
            sides = [("query", query), ("key", key)] if is_cross else [("key", key)]
            for number, (_, own) in enumerate(sides):
                parts = {
                    kind: "".join(
                        part["text"]
                        for part in decoded["segments"]
                        if part["kind"] == kind and part["side"] == number
                    )
                    for kind in ("instruction", "text")
                }
                cut = decoded["cut"][number]
                kept = [cut, parts["text"]] if side == "left" else [parts["text"], cut]
                whole = parts["instruction"] + "".join(kept)
                assert whole.split() == (own["instruction"] + own["text"]).split()
                assert parts["instruction"].strip() == own["instruction"].strip()
                n_cut += bool(cut)
    assert n_cut


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_slow_tokenizer_shows_the_tokens_that_are_cut(tmp_path, side):
    tokenizer = ByT5Tokenizer(truncation_side=side)

    shown = opened(tmp_path, tokenizer, query_max_length=32, key_max_length=32).show(1)

    for query in shown["queries"]:
        for key in query["keys"]:
            decoded = key["decoded"]
            [kept] = [part["text"] for part in decoded["segments"] if part["kind"] == "text"]
            whole = decoded["cut"][0] + kept if side == "left" else kept + decoded["cut"][0]
            assert whole.strip() == key["text"]
    assert any(one["n_cut"] for one in decoded_keys(shown))


class Shouting(BertTokenizerFast):
    """Changes a text before it is tokenized, so that offsets are not those of the text."""

    def __call__(self, text=None, *args, **kwargs):
        many = isinstance(text, list)
        return super().__call__([f"! {one}" for one in text] if many else text, *args, **kwargs)


def test_a_class_that_changes_texts_is_shown_as_it_does(tmp_path, minilm):
    shown = opened(tmp_path, Shouting.from_pretrained(minilm)).show(0)

    for one in decoded_keys(shown):
        assert one["segments"][1]["tokens"][0] == "!"
        assert one["is_aligned"]


def gather(batches):
    """What Lightning's all_gather gives in a run of these batches."""

    def all_gather(tensor, sync_grads=False):
        if sync_grads:  # embeddings
            return torch.zeros(len(batches), *tensor.shape)
        of_keys = [
            (
                one["key_id"],
                one["key_mask"].flatten(),
                one["query_text_id"].repeat_interleave(one["key_mask"].shape[1]),
            )
            for one in batches
        ]
        return torch.stack([torch.stack(one) for one in of_keys])

    return all_gather


@pytest.mark.parametrize("step", range(3))
def test_the_masked_keys_are_those_of_the_loss(tmp_path, minilm, step):
    module = opened(tmp_path, minilm, select_positive="random", batch_size=3)
    shown = module.show(step, rank=None, world_size=2)
    batches = []
    for rank in (0, 1):
        ranks = {"rank": rank, "num_replicas": 2}
        module.trainer = SimpleNamespace(distributed_sampler_kwargs=ranks, num_devices=2)
        batches.append(loaded(module, step))
    n_masked = 0

    for rank, batch in enumerate(batches):
        key = torch.zeros(len(batch["key_id"]), 1)
        _, target, excluded = competing_keys(batch, key, rank=rank, all_gather=gather(batches))
        for b, column in enumerate(target.tolist()):
            excluded[b, column] = True  # the query's own positive is no negative
            query = shown["queries"][rank * len(target) + b]
            n_negatives = query["n_negatives"] + query["in_batch"]["negatives"]
            assert n_negatives == int((~excluded[b]).sum())
            n_masked += len(query["in_batch"]["masked"])
            for masked in query["in_batch"]["masked"]:
                n_keys = len(query["keys"])
                at = (masked["rank"] * len(target) + masked["position"]) * n_keys + masked["slot"]
                assert excluded[b, at]
    assert step != 0 or n_masked or shown["dataset"] == "chat"


def test_without_in_batch_negatives_the_keys_of_others_are_none(tmp_path, minilm):
    file = write(tmp_path / "own" / "t.jsonl", rows_of("qa", 8))
    data = {"qa": {"path": file, "in_batch_negatives": False}}

    shown = opened(tmp_path, minilm, train_data=data).show(0, rank=None, world_size=2)

    for query in shown["queries"]:
        assert query["in_batch"] == {"negatives": 0, "padding": 0, "masked": []}
        assert query["n_negatives"] == 3
    assert "in_batch_negatives is off" in str(shown)


def test_positives_of_the_same_query_in_another_row_are_masked_and_say_so(tmp_path, minilm):
    rows = rows_of("qa", 8)
    for i, row in enumerate(rows):
        row["pos"] = [text("qa answer", i)]
    rows[5]["query"] = rows[2]["query"]
    module = opened(tmp_path, minilm, train_data=write(tmp_path / "own" / "t.jsonl", rows))

    shown = module.show(0, rank=None, world_size=2)

    masked = [
        (query["row"], one["rank"], one["position"], one["slot"], one["why"])
        for query in shown["queries"]
        for one in query["in_batch"]["masked"]
    ]
    at = {
        row: (rank, position)
        for rank in (0, 1)
        for position, row in enumerate(module.plan(num_replicas=2).for_rank(0, rank)[1].tolist())
    }
    why = "positive of the same query in another row"
    assert sorted(masked) == [(2, *at[5], 0, why), (5, *at[2], 0, why)]


def test_known_positives_of_other_rows_are_masked_with_their_text(tmp_path, minilm):
    shown = opened(tmp_path, minilm).show(0, rank=None, world_size=2)
    masked = [(query, one) for query in shown["queries"] for one in query["in_batch"]["masked"]]

    assert masked
    for query, one in masked:
        assert one["why"] == "known positive of this query"
        assert one["text"] in query["known_positives"]


def test_keys_that_are_padding_say_so_and_are_no_negatives(tmp_path, minilm):
    file = write(
        tmp_path / "few" / "t.jsonl",
        [{"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}"] * (i % 2)} for i in range(6)],
    )
    module = opened(tmp_path, minilm, train_data=file, on_no_negatives="keep", batch_size=6)

    shown = module.show(0)

    padding = [key for query in shown["queries"] for key in query["keys"] if not key["text"]]
    assert {(key["role"], key["masked"]) for key in padding} == {("padding", "padding")}
    assert len(padding) == 3
    assert {query["in_batch"]["padding"] for query in shown["queries"]} == {2, 3}
    assert "masked: padding" in str(shown)


def test_keys_that_are_repeated_for_lack_of_negatives_say_so(tmp_path, minilm):
    module = opened(tmp_path, minilm)
    shown = next(one for step in range(8) if (one := module.show(step))["dataset"] == "qa")
    assert all(key["repeats_slot"] is None for query in shown["queries"] for key in query["keys"])
    few = opened(
        tmp_path,
        minilm,
        train_group_size=6,
        train_data={
            "m": write(
                tmp_path / "m" / "t.jsonl", rows_of("qa", 1, n_neg=5) + rows_of("qa", 9, n_neg=2)
            )
        },
        batch_size=10,
    )

    repeats = [key for query in few.show(0)["queries"] for key in query["keys"]]

    assert any(key["repeats_slot"] is not None for key in repeats)


def test_scores_are_those_of_the_file_and_those_of_the_loss(tmp_path, minilm):
    module = opened(tmp_path, minilm, normalize_scores="minmax")
    step = next(step for step in range(8) if module.show(step)["dataset"] == "tool")
    shown, batch = module.show(step), loaded(module, step)

    for b, query in enumerate(shown["queries"]):
        given = json.loads(Path(query["file"]).read_text().splitlines()[query["line"] - 1])
        for slot, key in enumerate(query["keys"]):
            assert key["teacher_score"] == pytest.approx(float(batch["teacher_scores"][b, slot]))
            texts = [*given["pos"], *given["neg"]]
            assert key["raw_score"] == given["teacher_scores"][texts.index(key["text"])]


@pytest.mark.parametrize("epoch", [0, 3])
def test_file_and_line_hold_the_texts(tmp_path, minilm, epoch):
    module = opened(tmp_path, minilm)
    files = set()

    for step in range(len(module.plan())):
        for query in module.show(step, epoch)["queries"]:
            row = json.loads(Path(query["file"]).read_text().splitlines()[query["line"] - 1])
            files.add(query["file"])
            assert (row["query"], row["query_id"]) == (query["text"], query["query_id"])
            for key in query["keys"]:
                side, number = key["candidate"].split()
                assert row[side][int(number)] == key["text"]
    assert len(files) == 4


def test_other_formats_and_corpora_name_file_and_line_too(tmp_path, minilm):
    rows = [
        {"query": f"q {i}", "positive": text("p", i), "negative": text("n", i)} for i in range(8)
    ]
    train = write(tmp_path / "triplets" / "t.jsonl", rows)
    corpus = [
        write(
            tmp_path / "c" / name,
            [{"id": f"{name}{i}", "text": text("p", i + first)} for i in range(4)],
        )
        for name, first in (("a.jsonl", 4), ("b.jsonl", 0))
    ]
    module = opened(tmp_path, minilm, train_data=train, corpus={"c": {"path": corpus}})

    for query in module.show(0)["queries"]:
        assert (
            json.loads(Path(query["file"]).read_text().splitlines()[query["line"] - 1])["query"]
            == query["text"]
        )
        positive, negative = query["keys"][0], query["keys"][1]
        at = positive["passage"]
        line = Path(at["file"]).read_text().splitlines()[at["line"] - 1]
        assert json.loads(line)["text"] == positive["text"]
        assert negative["passage"] is None


def test_data_in_memory_has_records_and_no_lines(tmp_path, minilm):
    module = opened(tmp_path, minilm, train_data=rows_of("qa", 8))

    query = module.show(0)["queries"][0]

    assert (query["line"], query["record"]) == (None, query["row"])


def test_a_rows_own_instruction_is_marked(tmp_path, minilm):
    rows = rows_of("qa", 8)
    for i, row in enumerate(rows):
        if i % 2:
            row["instruction"] = {"query": f"own {i}: ", "key": ""}
    module = opened(tmp_path, minilm, train_data=write(tmp_path / "own" / "t.jsonl", rows))

    for query in module.show(0, rank=None)["queries"]:
        own = query["row"] % 2
        assert query["instruction"] == (f"own {query['row']}: " if own else "ask for this: ")
        marked = [p["text"] for p in query["decoded"]["segments"] if p["kind"] == "instruction"]
        assert marked == [f"own {query['row']} :" if own else "ask for this :"]
        assert {key["instruction"] for key in query["keys"]} == {"" if own else "a passage: "}


def test_all_ranks_are_the_ranks_one_after_the_other(tmp_path, minilm):
    module = opened(tmp_path, minilm, batch_size=2)

    everyone = module.show(1, rank=None, world_size=4)

    each = [module.show(1, rank=rank, world_size=4) for rank in range(4)]
    assert everyone["queries"] == [query for one in each for query in one["queries"]]
    assert [rank["rank"] for rank in everyone["ranks"]] == [0, 1, 2, 3]
    alone = module.show(1, rank=0, world_size=1, plan=module.plan(0, 1))
    assert alone["world_size"] == 1


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"step": 99}, r"epoch=0: step must be in \[0, \d+\), got 99"),
        ({"rank": 7}, r"epoch=0: rank must be in \[0, 1\), got 7"),
        ({"epoch": -1}, r"epoch=-1: expected a whole number of at least 0"),
    ],
)
def test_a_batch_that_is_not_there_is_refused_in_one_sentence(tmp_path, minilm, asked, sentence):
    with pytest.raises(ConfigError, match=sentence):
        opened(tmp_path, minilm).show(**asked)


def test_texts_are_escaped_on_the_page_and_on_the_terminal(tmp_path, minilm):
    evil = '<script>alert(1)</script> \x1b[31mred \u202e & "quoted"'
    rows = [
        {
            "query": f"{evil} {i}",
            "pos": [f"p {evil} {i}"],
            "neg": [f"n {evil} {i}"],
            "query_id": evil,
        }
        for i in range(4)
    ]
    shown = opened(tmp_path, minilm, train_data=write(tmp_path / "e" / "t.jsonl", rows)).show(0)

    page = shown._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    for said in (page, str(shown), repr(shown)):
        assert "\x1b" not in said
        assert "\u202e" not in said


@pytest.mark.parametrize("settings", [{}, {"cross": True}, {"layout": "packed"}])
def test_a_shown_batch_is_json_text_and_html(tmp_path, minilm, settings):
    shown = opened(tmp_path, minilm, **settings).show(0, rank=None, world_size=2)

    assert json.loads(json.dumps(shown.to_dict(), allow_nan=False)) == shown.to_dict()
    first = shown["queries"][0]
    for said in (str(shown), shown._repr_html_()):
        assert f"row {first['row']}" in said
        assert "padding" in said
    assert "all ranks of 2" in repr(shown)
