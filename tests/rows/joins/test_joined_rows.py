"""Side-cars are joined when a source is opened, beside rows that are read once."""

import json

import pytest

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.foreign_rows import foreign_rows
from llm_embedder_data.rows.schema import reading
from llm_embedder_data.rows.side_cars.scores_beside import head_beside, path_beside
from llm_embedder_data.rows.side_cars.stand_in_ids import ids_of_texts
from tests.rows.set_cases import train, write

CORPUS = [{"id": f"d{n}", "text": f"passage {n}"} for n in range(8)]
ROWS = [
    {"query": "alpha?", "query_id": "a", "pos": ["passage 0"], "neg": []},
    {"query": "beta?", "query_id": 7, "pos": ["passage 1"], "neg": ["passage 2"]},
    {"query": "Alpha? ", "query_id": "a2", "pos": ["passage 3"], "neg": []},
    {"query": "gamma?", "pos": ["passage 4"], "neg": []},
]


@pytest.fixture
def files(tmp_path):
    path = write(tmp_path, ROWS)
    corpus = path.with_name("corpus.jsonl")
    corpus.write_text("".join(json.dumps(row) + "\n" for row in CORPUS))
    return path


def run(path, lines, name="run.tsv"):
    file = path.with_name(name)
    file.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return str(file)


def joined(path, lines, **settings):
    source = {
        "corpus": str(path.with_name("corpus.jsonl")),
        "negatives": run(path, lines),
        **settings.pop("source", {}),
    }
    [found] = train(path, source=source, on_no_negatives="keep", **settings)
    return found


def keys(found, row):
    record = found.rows[row]
    return record["key"][: record["n_pos"]], record["key"][record["n_pos"] :]


def test_negatives_of_a_headless_tsv_come_behind_the_rows_own(files):
    lines = [("7", "d5", 0.5), ("7", "d2", 0.25), ("a", "d6", 0.75), ("7", "d6", 1.5)]

    found = joined(files, lines)

    assert keys(found, 0) == (["passage 0"], ["passage 6"])
    assert keys(found, 1) == (["passage 1"], ["passage 2", "passage 6", "passage 5"])
    assert len(found.kept) == 4


def test_no_positive_of_any_row_of_the_query_becomes_a_negative(files):
    lines = [("a", f"d{n}", 8.0 - n) for n in range(5)]
    lines += [("a2", f"d{n}", 8.0 - n) for n in range(5)]

    found = joined(files, lines)

    wanted = ["passage 1", "passage 2", "passage 4"]
    assert keys(found, 0) == (["passage 0"], wanted)
    assert keys(found, 2) == (["passage 3"], wanted)


def beside(path, lines, of=None):
    name = path.with_name("run.tsv")
    digest = content_digest(str(name), path.parent / "cache") if of is None else of
    path_beside(name).write_text(
        "\n".join([head_beside(digest), *("\t".join(map(str, line)) for line in lines), ""])
    )


def test_what_a_miner_took_for_a_positive_is_known_and_no_negative(files):
    lines = [("a", "d5", 0.7), ("a", "d6", 0.5)]
    run(files, lines)
    beside(files, [("a", "d5", "inf"), ("a", "d0", 0.75)])

    found = joined(files, lines)

    assert keys(found, 0) == (["passage 0"], ["passage 6"])
    others = ["passage 3", "passage 5"]  # of the other row of the query, and of the miner
    assert found.rows[0]["known_id"] == text_ids(others).tolist()
    assert found.rows[0]["teacher_scores"] == [0.75, 0.5]
    assert found.rows[1]["known_id"] == []


def test_scores_beside_another_run_are_not_read(files):
    lines = [("a", "d5", 0.7)]
    beside(files, [("a", "d0", 0.75)], of="another")

    found = joined(files, lines)

    assert found.n_scored == 0
    assert any("belongs to another content of run.tsv" in note for note in found.notes)


def test_a_positive_is_known_whatever_its_case_and_white_space(files):
    corpus = [{"id": "d0", "text": " Passage\n0"}, {"id": "d1", "text": "another"}]
    files.with_name("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))

    found = joined(files, [("a", "d0", 2.5), ("a", "d1", 1.5)])

    assert keys(found, 0) == (["passage 0"], ["another"])
    assert found.rows[0]["teacher_scores"] == [2.5, 1.5]


def test_rows_without_ids_are_known_by_their_text_or_their_number(files):
    [own_id] = ids_of_texts(["gamma?"])

    assert keys(joined(files, [(own_id, "d6", 0.5)]), 3)[1] == ["passage 6"]
    assert keys(joined(files, [("3", "d7", 0.5)]), 3)[1] == ["passage 7"]


def test_documents_may_be_candidates_of_the_rows_known_by_their_text(files):
    [known] = ids_of_texts(["passage 2"])
    source = {"negatives": run(files, [("a", known, 0.5), ("a", "text:no", 0.25)])}

    [found] = train(files, source=source, on_no_negatives="keep")

    assert keys(found, 0)[1] == ["passage 2"]
    assert "1 mined negatives that the corpus does not have" in found.notes


def test_scores_of_a_run_judge_negatives_and_do_not_teach(files):
    lines = [("a", "d0", 1.0), ("a", "d5", 0.95), ("a", "d6", 0.5)]

    found = joined(files, lines, limits={"absolute_margin": 0.1}, asked={"absolute_margin"})

    assert found.left_out_by_limit == {"absolute_margin": [1]}
    assert not found.are_teacher_scores
    assert found.n_scored == 1


def test_a_setting_that_needs_a_teacher_is_refused_for_scores_of_a_run(files):
    with pytest.raises(DataError, match=r"select_positive='teacher' needs a teacher's"):
        joined(files, [("a", "d5", 0.95)], select_positive="teacher")


def test_another_side_car_reads_no_row_again(files, monkeypatch):
    first = joined(files, [("a", "d6", 0.5)])
    for module, write_cache in ((reading, "_write"), (foreign_rows, "write_foreign")):
        monkeypatch.setattr(module, write_cache, None)  # whoever reads a file calls it

    second = joined(files, [("a", "d7", 0.5)])

    assert keys(first, 0)[1] == ["passage 6"]
    assert keys(second, 0)[1] == ["passage 7"]
    assert first.side_cars["negatives"] != second.side_cars["negatives"]
    assert first.digests == second.digests


def test_a_bad_row_keeps_its_number_and_its_error(files):
    files.write_text('{"query": "x", "pos": 3}\n' + files.read_text())

    with pytest.raises(DataError, match=r"row 0"):
        joined(files, [("a", "d5", 0.5)])
    found = joined(files, [("a", "d5", 0.5)], on_bad_row="skip")

    assert keys(found, 1)[1] == ["passage 5"]
    assert found.kept.tolist() == [1, 2, 3, 4]


def test_own_teacher_scores_are_set_aside_and_counted(tmp_path):
    path = write(tmp_path, [{**ROWS[1], "teacher_scores": [2.0, 1.0]}])
    path.with_name("corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CORPUS))

    found = joined(path, [("7", "d5", 0.5)])

    assert found.n_scored == 0
    assert "1 rows whose teacher scores are set aside, as negatives are joined" in found.notes


def test_scores_of_a_run_teach_if_the_source_says_so(files):
    lines = [("a", "d5", 0.7), ("a", "d6", 0.5)]
    run(files, lines)
    beside(files, [("a", "d5", "inf"), ("a", "d0", 0.75)])

    found = joined(files, lines, source={"scores": str(files.with_name("run.tsv"))})

    assert found.rows[0]["teacher_scores"] == [0.75, 0.5]
    assert found.are_teacher_scores


def test_of_several_corpora_the_one_of_the_datasets_name_has_the_documents(files):
    other = files.with_name("other.jsonl")
    other.write_text('{"id": "d5", "text": "of another dataset"}\n')
    corpora = {"tool": str(other), "qa": str(files.with_name("corpus.jsonl"))}

    found = joined(files, [("a", "d5", 0.5)], source={"corpus": corpora})

    assert found.name == "qa"
    assert keys(found, 0)[1] == ["passage 5"]
