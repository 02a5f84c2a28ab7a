import pytest
from doctor_cases import opened, row

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
