from doctor_cases import opened, row


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
    assert selection["negatives_per_row"] == {
        "fewest": 1,
        "median": 1,
        "most": 2,
        "rows": {"1": 1, "2-3": 1},
    }
    assert (selection["keys_per_query"], selection["rows_short_of_negatives"]) == (3, 1)
