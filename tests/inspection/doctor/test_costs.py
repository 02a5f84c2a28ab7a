import pytest
from doctor_cases import SOUND, opened, row

from llm_embedder_data.core.normal_form import normal_form

FILL = "a ship at sea "


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_tokens_and_padding_are_those_of_the_epochs_batches(tmp_path, minilm, layout):
    rows = [row(f"q {FILL * i}", [f"p {FILL * (i % 3)}"], [f"n {i}"]) for i in range(4)]
    module = opened(tmp_path, minilm, {"set": rows}, layout=layout, train_group_size=2)

    plan = module.diagnose(world_size=2)["plan"]

    queries = module.show(0, rank=0, world_size=2)["queries"]
    # Rank 0 stands for both ranks.
    tokens = 2 * sum(k["decoded"]["n_tokens"] for q in queries for k in [q, *q["keys"]])
    assert plan["tokens_per_epoch"] == tokens
    assert plan["layout"] == layout
    assert plan["padding"]["packed"] == 0 < plan["padding"]["padded"] < 1
    cells = plan["cells_per_epoch"]["padded"]
    assert plan["padding"]["padded"] == pytest.approx(1 - tokens / cells)
    assert plan["datasets"]["set"]["padding"] == plan["padding"]


def test_caches_are_counted_as_they_lie_on_the_disk(tmp_path, minilm):
    corpus = [{"text": "the sea rises"}, {"text": "many ships"}]
    module = opened(
        tmp_path,
        minilm,
        {"set": SOUND},
        [{"query": "a tide", "pos_index": [0]}],
        corpus,
        tokenize="cached",
    )

    diagnosis = module.diagnose(seconds_to_prepare=1.5)

    on_disk = [
        file.stat().st_size
        for file in (tmp_path / "cache").rglob("*")
        if file.suffix in (".arrow", ".bin")
    ]
    assert diagnosis["plan"]["cache_bytes"] == sum(on_disk)
    assert all(entry["cache_bytes"] > 0 for entry in diagnosis["datasets"].values())
    assert diagnosis["plan"]["seconds_to_prepare"] == 1.5
    assert "to write or to open them" in str(diagnosis)


def test_an_answer_is_lost_if_only_the_cut_part_holds_it(tmp_path, minilm):
    far = FILL * 8
    rows = [
        row("where is it", [f"{far} in Paris"], ["no"], answers=["Paris"]),
        row("where was it", [f"in Rome {far}"], ["no"], answers=["rome"]),
        row("where else", ["a short text of Oslo"], ["no"], answers=["Oslo", "Bergen"]),
        row("where not", [far], ["no"], answers=["Bonn"]),
    ]
    module = opened(tmp_path, minilm, {"set": rows})

    diagnosis = module.diagnose()

    cut = diagnosis["datasets"]["set"]["cut"]
    assert (cut["positives"], cut["positives_cut"], cut["share_cut"]) == (4, 3, 0.75)
    assert (cut["positives_with_answer"], cut["answers_behind_cut"]) == (3, 1)
    assert [(one["line"], one["text"]) for one in cut["examples"]] == [(1, "where is it")]
    assert "1 of 3 that hold an answer lose it" in " ".join(str(diagnosis).split())


def test_selection_says_what_each_setting_leaves(tmp_path, minilm):
    rows = [
        row("q 0", ["p 0", "p 00"], ["n 0", "m 0"], teacher_scores=[9, 9, 8, 1]),
        row("q 1", ["p 1"], ["n 1", "p 1"], teacher_scores=[9, 2, 9]),
        row("q 2", ["p 2"], ["n 2"], teacher_scores=[9, 8.5]),
        row("q 3", ["p 3"], [], teacher_scores=[9]),
    ]
    limits = {"max_score": {0: 8.2, 2: 5}}
    module = opened(tmp_path, minilm, {"set": rows}, train_group_size=3, **limits)

    selection = module.diagnose()["datasets"]["set"]["selection"]

    assert selection["rows_left"] == {"no_negatives": 3, "no_negatives_left": 2}
    assert (selection["positives"], selection["rows_with_several_positives"]) == (3, 1)
    assert selection["negatives"] == 4  # n 0, m 0, n 1, n 2: a positive's text is none
    assert selection["negatives_left_out"] == {"max_score": {0: 1, 2: 2}}
    assert (selection["keys_per_query"], selection["rows_short_of_negatives"]) == (3, 1)


@pytest.mark.parametrize("space", [*"\t\n\v\f\r\x1c\x1d\x1e\x1f", "  ", " \n "])
def test_all_white_space_is_a_blank(space):
    assert normal_form(f"{space}The{space}cat{space}") == "the cat"
