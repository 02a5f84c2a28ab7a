import pytest

from llm_embedder_data.core.normal_form import normal_form


@pytest.mark.parametrize("space", [*"\t\n\v\f\r\x1c\x1d\x1e\x1f", "  ", " \n "])
def test_all_white_space_is_a_blank(space):
    assert normal_form(f"{space}The{space}cat{space}") == "the cat"
