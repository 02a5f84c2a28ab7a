from llm_embedder_data import EpochPlan


def test_a_plan_is_a_table_in_a_notebook_with_names_escaped():
    plan = EpochPlan({"a<b>\x1b[31m": 24, "c": 10}, 2, 2, small_datasets="drop", epoch=3)

    page = plan._repr_html_()

    assert "Epoch 3: 8 steps on 2 ranks" in page
    assert "<td>a&lt;b&gt;\\x1b[31m</td><td>24</td><td>4</td><td>6</td><td>75.0%</td>" in page
    assert "\x1b" not in page
