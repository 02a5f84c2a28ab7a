"""One error for all bad rows."""

from file_cases import ROWS, lines_of, refused, train, written


def test_equal_faults_are_reported_once_with_their_count(tmp_path):
    path = written(tmp_path, lines_of([*ROWS, *({"query": "q"} for _ in range(30))]))

    message = refused(lambda: train(path))

    assert "row 4 (line 5): no pos, neg or history (a row needs candidates); in 30" in message
    assert len(message.splitlines()) == 2


def test_the_first_faults_are_shown_if_skipping_leaves_no_row(tmp_path):
    path = written(tmp_path, lines_of([{"query": i, "pos": ["p q"]} for i in range(3)]))

    message = refused(lambda: train(path, "skip"))

    assert "none of the 3 rows of dataset" in message
    assert "row 0 (line 1): query=0 (a string is needed)" in message
    assert "setting" not in message


def test_bad_rows_beside_rows_that_a_setting_dropped_are_shown(tmp_path):
    rows = [{"query": 1, "pos": ["p q"]}, {"query": "q", "pos": ["p q"], "neg": []}]

    message = refused(lambda: train(written(tmp_path, lines_of(rows)), "skip"))

    assert "dropped 1 for bad_row, 1 for no_negatives (correct the bad rows; data.on_no" in message
    assert "query=1 (a string is needed)" in message
