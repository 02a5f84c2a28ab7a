"""Output files that cannot be written: one sentence with the setting, whatever the verb."""

import errno
import os
from pathlib import Path

import pytest

from llm_embedder_data.cli.output_files import write_json
from llm_embedder_data.cli.refusals import is_refusal, message
from llm_embedder_data.core.errors import DataError

takes_no_files = pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a folder that takes no files"
)
RUN = "q1\td1\t2.5\nq1\td2\t1.5\n"


@pytest.fixture
def rows(tmp_path):
    line = '{"query": "q", "pos": ["p"], "neg": ["n"]}\n'
    (tmp_path / "train.jsonl").write_text(line)
    return f"data.train_data={{qa: {tmp_path}/train.jsonl}}"


@pytest.mark.parametrize("verb", ["convert", "prepare"])
def test_rejected_auto_is_no_file(run, rows, tmp_path, verb):
    """The working folder may be read-only, or have a folder of that name."""
    (tmp_path / "auto").mkdir()
    (tmp_path / "made").mkdir()
    written = {"convert": ["out=made/rows.jsonl"], "prepare": ["json=made/report.json"]}

    run(verb, rows, f"data.cache_dir={tmp_path}/cache", *written[verb], "rejected=auto")

    assert list((tmp_path / "made").iterdir()) == [tmp_path / written[verb][0].split("=")[1]]
    assert not list((tmp_path / "auto").iterdir())


@takes_no_files
@pytest.mark.parametrize(
    "setting",
    ["json=/proc/report.json", "html=/proc/page.html", "rejected=/proc/rows.jsonl", "fix=/proc"],
)
def test_prepare_names_the_output_that_cannot_be_written(refused, rows, tmp_path, setting):
    said = refused(
        "prepare", rows, f"data.cache_dir={tmp_path}/cache", "data.batch_size=1", setting
    )

    assert "cannot be written" in said
    assert setting.split("=")[0] in said


@takes_no_files
def test_mine_names_the_output_that_cannot_be_written(refused, tmp_path):
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text(RUN)

    said = refused("mine", f"merge=[{tmp_path}/a.tsv,{tmp_path}/b.tsv]", "out=/proc/run.tsv")

    assert "cannot be written" in said
    assert "out" in said.split("cannot be written")[0] or "another out" in said


def test_a_json_file_below_a_file_names_its_setting(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(DataError, match=r"file/a\.json: cannot be written: .*another json\)"):
        write_json("json", str(tmp_path / "file/a.json"), {})


def test_a_full_disk_that_a_library_meets_is_a_refusal():
    """Lightning writes checkpoints and logs, and raises what the system says."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "logs/hparams.yaml")

    assert is_refusal(full)
    assert not is_refusal(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    assert message("fit", full) == (
        "llm-embedder-data fit: logs/hparams.yaml could not be written: No space left on device "
        "(make room)"
    )
    too_large = OSError(errno.EFBIG, os.strerror(errno.EFBIG), "last.ckpt")
    assert is_refusal(too_large)
    assert "last.ckpt could not be written: File too large" in message("fit", too_large)
    assert "ulimit -f" in message("fit", too_large)
