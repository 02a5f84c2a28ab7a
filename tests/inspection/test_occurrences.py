import json

import pytest
from inspection_cases import opened, rows_of, text, write

from llm_embedder_data import ConfigError


def searched(module, wanted, epochs, world_size):
    """Where a text is, found by decoding every batch of every rank."""
    found = []
    for epoch in range(epochs):
        for step in range(len(module.plan(epoch, world_size))):
            for query in module.show(step, epoch, None, world_size=world_size)["queries"]:
                at = (epoch, step, query["rank"], query["position"])
                found += [(*at, "query")] * (query["text"] == wanted)
                roles = [key["role"] for key in query["keys"] if key["text"] == wanted]
                found += [(*at, role) for role in dict.fromkeys(roles)]
    return found


SETTINGS = [
    {},
    {"organize_method": "random"},
    {"organize_method": "epoch-static", "remainder": "drop"},
    {"select_positive": "random", "length_window": 2},
]
TEXTS = [
    text("qa query", 3, 24),
    text("tool pos", 2),
    text("qa other pos", 5),
    text("chat neg", 4, 3),
]


@pytest.mark.parametrize(
    "settings",
    [pytest.param(one, marks=pytest.mark.slow) if one else one for one in SETTINGS],
)
def test_a_text_is_found_wherever_a_batch_has_it(tmp_path, minilm, settings):
    module = opened(tmp_path, minilm, batch_size=2, **settings)
    n_found = 0

    for wanted in TEXTS:
        found = module.occurrences(text=wanted, epochs=2, world_size=2)
        steps = [one for one in found["steps"] if one["role"] != "not chosen"]
        names = ("epoch", "step", "rank", "position", "role")
        assert [tuple(one[name] for name in names) for one in steps] == searched(
            module, wanted, 2, 2
        )
        n_found += len(steps)
    assert n_found >= 4


def test_in_batch_counts_the_queries_that_have_the_text_as_a_negative(tmp_path, minilm):
    module = opened(tmp_path, minilm, batch_size=4)
    wanted = text("qa pos", 2)

    steps = module.occurrences(text=wanted, epochs=2)["steps"]

    assert any(one["role"] == "positive" for one in steps)
    for one in steps:
        if one["role"] != "positive":
            continue
        shown = module.show(one["step"], one["epoch"])
        others = [query for query in shown["queries"] if query["position"] != one["position"]]
        masking = [query for query in others if wanted in query["known_positives"]]
        assert one["in_batch_negative_of"] == len(others) - len(masking)


def test_rows_have_their_roles_and_their_places_in_the_files(tmp_path, minilm):
    found = opened(tmp_path, minilm).occurrences(text=text("qa pos", 2))

    assert [(row["dataset"], row["row"], row["roles"]) for row in found["rows"]] == [
        ("qa", 4, ["pos 0"]),
        ("qa", 5, ["pos 0"]),
    ]
    assert [(row["file"][-7:], row["line"]) for row in found["rows"]] == [
        ("e.jsonl", 5),
        ("e.jsonl", 6),
    ]
    assert "qa row 4 (one.jsonl:5): pos 0" in str(found)
    page = found._repr_html_()
    assert text("qa pos", 2) in page
    assert "one.jsonl:5" in page


def test_a_row_is_found_by_its_id(tmp_path, minilm):
    module = opened(tmp_path, minilm)

    found = module.occurrences(id="tool-7", epochs=3)

    assert [row["row"] for row in found["rows"]] == [7]
    assert {one["role"] for one in found["steps"]} == {"query"}
    assert len(found["steps"]) >= 2
    for one in found["steps"]:
        query = module.show(one["step"], one["epoch"])["queries"][one["position"]]
        assert query["query_id"] == "tool-7"


def test_an_id_that_is_a_number_is_found(tmp_path, minilm):
    rows = [{**row, "query_id": 100 + i} for i, row in enumerate(rows_of("qa", 8))]
    module = opened(tmp_path, minilm, train_data=write(tmp_path / "n" / "t.jsonl", rows))

    assert [row["row"] for row in module.occurrences(id=103)["rows"]] == [3]
    assert module.occurrences(id="103")["steps"] == module.occurrences(id=103)["steps"]


def test_a_dropped_row_is_listed_and_is_in_no_step(tmp_path, minilm):
    rows = rows_of("qa", 9)
    rows[4]["neg"] = []
    module = opened(tmp_path, minilm, train_data=write(tmp_path / "d" / "t.jsonl", rows))

    found = module.occurrences(text=rows[4]["query"], epochs=3)

    assert [(row["row"], row["is_kept"]) for row in found["rows"]] == [(4, False)]
    assert found["steps"] == []
    assert "dropped: in no step" in str(found)


def test_a_row_of_a_file_of_several_tasks_is_found_once(tmp_path, minilm):
    rows = rows_of("qa", 8) + rows_of("tool", 8)
    module = opened(tmp_path, minilm, train_data=write(tmp_path / "s" / "t.jsonl", rows))

    found = module.occurrences(text=rows[9]["query"])

    assert [(row["row"], row["is_kept"]) for row in found["rows"]] == [(9, True)]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"text": "nothing like it"}, "no query and no candidate of qa, tool, chat is or contains"),
        ({"text": "qa query 3"}, "is no query and no candidate, but a part of one: 'qa query 3 "),
        ({"id": "qa-99"}, "no row of qa, tool, chat has this query id"),
        ({"id": "--5"}, "no row of qa, tool, chat has this query id"),
        ({"id": "9" * 5000}, "no row of qa, tool, chat has this query id"),
    ],
)
def test_a_text_that_is_nowhere_is_refused_in_one_sentence(tmp_path, minilm, asked, sentence):
    with pytest.raises(ConfigError, match=sentence) as refused:
        opened(tmp_path, minilm).occurrences(**asked)
    assert "\n" not in str(refused.value)


def test_occurrences_are_json(tmp_path, minilm):
    found = opened(tmp_path, minilm).occurrences(text=text("tool pos", 2))

    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
