"""The figures on hard negatives a row, against the numbers themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.inspection.doctor.costs.negatives_per_row import NegativesPerRow


def test_ranges_double_in_width_and_empty_ones_are_left_out():
    per_row = NegativesPerRow()
    per_row.add(np.array([0, 1, 2, 3], np.int32))
    per_row.add(np.array([3, 16, 31, 32], np.int32))

    assert per_row.figures() == {
        "fewest": 0,
        "median": 3,
        "most": 32,
        "rows": {"0": 1, "1": 1, "2-3": 3, "16-31": 2, "32-63": 1},
    }


def test_without_rows_there_are_no_figures():
    assert NegativesPerRow().figures() is None


@given(st.lists(st.lists(st.integers(0, 300)), min_size=1).filter(any))
def test_the_figures_are_those_of_all_rows_however_they_were_added(blocks):
    per_row = NegativesPerRow()
    for block in blocks:
        per_row.add(np.array(block, np.int32))
    numbers = sorted(number for block in blocks for number in block)

    figures = per_row.figures()

    assert figures["fewest"] == numbers[0]
    assert figures["most"] == numbers[-1]
    assert figures["median"] == numbers[(len(numbers) - 1) // 2]
    for label, n_rows in figures["rows"].items():
        low, _, high = label.partition("-")
        inside = [number for number in numbers if int(low) <= number <= int(high or low)]
        assert n_rows == len(inside) > 0
    assert sum(figures["rows"].values()) == len(numbers)
