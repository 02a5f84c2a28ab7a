import errno
import json
import os
from pathlib import Path

import pytest
from cli_cases import write_rows


@pytest.fixture
def data(tmp_path, tiny):
    folder = write_rows(tmp_path)
    rows = (folder / "train.jsonl").read_text().splitlines()
    (folder / "train.jsonl").write_text("\n".join([*rows, rows[0]]) + "\n")
    return [
        f"encoder={tiny}",
        f"data.train_data={folder}/train.jsonl",
        f"data.eval_data={folder}/eval.jsonl",
        f"data.corpus={folder}/corpus.jsonl",
        "data.batch_size=4",
        f"data.cache_dir={tmp_path}/cache",
    ]


def test_prepare_reports_as_table_json_and_page(run, data, tmp_path):
    printed = run("prepare", *data, "world_size=2", "json=report.json", "html=page.html")

    assert "duplicate_rows" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    found = report["datasets"]["mine"]["checks"]["duplicate_rows"]
    assert (found["count"], found["examples"][0]["line"]) == (1, 9)
    assert report["plan"]["num_replicas"] == 2
    assert "duplicate_rows" in (tmp_path / "page.html").read_text()
    assert not (tmp_path / "outputs").exists()


def test_a_limit_that_is_exceeded_ends_in_exit_code_1(run, data, tmp_path):
    with pytest.raises(SystemExit) as leaving:
        run("prepare", *data, "fail_on={duplicate_rows: 0, contamination: 0}", "json=report.json")

    assert "mine: duplicate_rows: 1 rows that repeat an earlier row" in str(leaving.value)
    assert (tmp_path / "report.json").exists()


def test_a_limit_that_is_met_ends_well(run, data):
    run("prepare", *data, "fail_on={duplicate_rows: 1}")


@pytest.mark.parametrize("check", ["contamination", "near_contamination"])
def test_a_limit_that_compares_with_no_eval_data_is_said(run, data, check):
    near = ["near_duplicates=0.8"] if check == "near_contamination" else []
    no_eval = [one for one in data if not one.startswith(("data.eval_data", "data.corpus"))]

    with pytest.warns(UserWarning, match=rf"fail_on\.{check} can find nothing: data\.eval_data"):
        run("prepare", *no_eval, *near, f"fail_on={{{check}: 0}}")


def test_fixed_files_have_no_such_fault(run, data, tmp_path):
    run("prepare", *data, "fix=cleaned")
    again = [one for one in data if "train_data" not in one]

    run("prepare", *again, "data.train_data=cleaned/mine.jsonl", "fail_on={duplicate_rows: 0}")


def test_a_byte_that_changed_in_a_cache_is_found(run, data, tmp_path):
    run("prepare", *data)
    [cached, *_] = sorted((tmp_path / "cache").glob("*.arrow"))
    times = os.stat(cached)
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    os.utime(cached, ns=(times.st_atime_ns, times.st_mtime_ns))

    printed = run("prepare", *data)

    assert f"damaged cache, made again: {cached}" in printed.replace("\n", "")
    assert "damaged" not in run("prepare", *data)


def test_a_damaged_cache_that_cannot_be_deleted_is_one_sentence(
    refused, data, tmp_path, monkeypatch
):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/a.bin").write_bytes(b"damaged")

    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "unlink", denied)  # root may delete all files
    said = refused("prepare", *data)

    assert "cache/a.bin: cannot be written: Permission denied" in said
    assert "data.cache_dir" in said


def test_annotations_name_file_and_line(run, data):
    printed = run("prepare", *data, "annotations=true")

    assert "train.jsonl,line=9::mine: duplicate_rows" in printed


def test_only_what_exceeds_its_limit_is_annotated_as_an_error(run, data, tmp_path, capsys):
    rows = [{"query": f"r {i % 4}", "pos": [f"p {i % 4}"], "neg": ["n r"]} for i in range(8)]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = f"data.train_data=[{tmp_path}/mine/train.jsonl,{tmp_path}/other/t.jsonl]"
    with pytest.raises(SystemExit):
        run("prepare", *data, both, "annotations=true", "fail_on={duplicate_rows: 1}")

    lines = [line for line in capsys.readouterr().out.splitlines() if "duplicate_rows" in line]
    levels = {
        line.split("::")[2].split(":")[0]: line.split(" ")[0] for line in lines if "::" in line
    }
    assert levels == {"mine": "::warning", "other": "::error"}


def test_datasets_below_a_global_batch_are_reported_and_the_verb_ends_well(run, data, tmp_path):
    outputs = ("json=report.json", "html=page.html", "annotations=true")
    printed = run("prepare", *data, "world_size=8", *outputs)

    assert "fit with these settings would be refused" in printed
    assert "::mine: below_global_batch: 9 rows, fewer than one global batch of 32" in printed
    assert "::mine: duplicate_rows" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["datasets"]["mine"]["checks"]["below_global_batch"]["count"] == 9
    assert "would be refused" in (tmp_path / "page.html").read_text()
    with pytest.raises(SystemExit) as leaving:
        run("prepare", *data, "data.batch_size=100", "fail_on={below_global_batch: 0}")
    assert "below_global_batch: 9 rows of a dataset with fewer rows than a global batch" in str(
        leaving.value
    )


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("fail_on={duplicate_row: 0}", "fail_on='duplicate_row'"),
        ("fail_on=short_texts", "fail_on='short_texts': expected a mapping such as"),
        ("fail_on=0", "fail_on=0: expected a mapping such as {contamination: 0}, or null"),
        ("fail_on.short_text=0", "fail_on='short_text': expected one of positive_among"),
        ("fix=3", "fix=3: expected the folder for the cleaned files"),
        ("fix=''", "fix='': expected the folder for the cleaned files"),
        ("fix=s3://a/b", "fix=s3://a/b: files are written to a disk"),
        ("data._target_=lightning.pytorch.LightningDataModule", "expected RetrievalDataModule"),
        ("world_size=0", "world_size=0: expected a whole number of at least 1"),
        ("json=.", "is a folder (name a file in it)"),
        ("annotations=maybe", "annotations='maybe': expected true, false or auto"),
    ],
)
def test_a_wrong_setting_is_one_sentence(run, data, override, sentence):
    with pytest.raises(SystemExit) as leaving:
        run("prepare", *data, override)

    assert sentence in str(leaving.value)


def test_near_duplicates_are_looked_for_where_asked(run, data, tmp_path):
    pytest.importorskip("rensa", reason="needs the extra 'near-duplicates'")
    with pytest.raises(SystemExit) as leaving:
        run("prepare", *data, "near_duplicates=0.8", "fail_on={near_duplicate_rows: 0}")

    assert "near_duplicate_rows" in str(leaving.value)
    with pytest.raises(SystemExit) as leaving:
        run("prepare", *data, "near_duplicates=8")
    assert "near_duplicates=8: expected the least Jaccard" in str(leaving.value)


def test_settings_that_make_no_plan_are_reported_and_not_an_error(run, data, tmp_path):
    weighted = [one for one in data if "train_data" not in one]
    source = f"data.train_data={{mine: {{path: {tmp_path}/mine/train.jsonl, weight: 0.01}}}}"

    printed = run("prepare", *weighted, source, "json=report.json", "html=page.html")

    assert "fit with these settings would be refused" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert "weight 0.01 of dataset 'mine' gives it" in report["refused"]
    assert report["plan"] is None
    assert report["datasets"]["mine"]["checks"]["duplicate_rows"]["count"] == 1
    assert "weight 0.01" in (tmp_path / "page.html").read_text()


def test_rejected_rows_are_written_beside_the_report(run, data, tmp_path):
    with open(tmp_path / "mine" / "train.jsonl", "a") as file:
        file.write('{"query": "q", "pos": [5]}\n')
    skipping = [*data, "data.on_bad_row=skip"]

    for _ in range(2):  # the second time from caches
        assert "report.rejected.jsonl" in run("prepare", *skipping, "json=report.json")
        [line] = (tmp_path / "report.rejected.jsonl").read_text().splitlines()
        (tmp_path / "report.rejected.jsonl").unlink()
        found = json.loads(line)
        assert (found["dataset"], found["row"], found["line"]) == ("mine", 9, 10)
        assert (found["field"], found["value"]) == ("pos", '{"query": "q", "pos": [5]}')
        assert found["file"].endswith("train.jsonl")
        assert found["reason"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["datasets"]["mine"]["rejected"] == 1
    assert "rejected=rejected.jsonl" in run("prepare", *skipping)
    assert "rejected" not in run("prepare", *skipping, "rejected=null")
    run("prepare", *skipping, "rejected=sub/mine.jsonl")
    assert (tmp_path / "sub" / "mine.jsonl").exists()


def test_without_rejected_rows_an_old_file_of_them_is_emptied(run, data, tmp_path):
    run("prepare", *data, "html=report.html")
    assert not (tmp_path / "report.rejected.jsonl").exists()
    (tmp_path / "report.rejected.jsonl").write_text("{}\n")

    run("prepare", *data, "html=report.html")

    assert (tmp_path / "report.rejected.jsonl").read_text() == ""
