"""Errors that Lightning raises by itself are sentences; a run that was trained keeps its folder."""

from pathlib import Path

import pytest

from llm_embedder_data.cli.refusals import is_refusal


def error_of(code: str, module: str, tmp_path) -> Exception:
    """Return the error that a file of code raises when it is run as a module of that name."""
    file = tmp_path / "code.py"
    file.write_text(code)
    with pytest.raises(Exception) as raised:  # noqa: PT011  any error
        exec(compile(code, str(file), "exec"), {"__name__": module})
    return raised.value


@pytest.mark.parametrize(
    ("code", "module", "is_one"),
    [
        ("raise ValueError('a sentence')", "lightning.pytorch.loops", True),
        ("raise RuntimeError(\n    'a sentence')", "lightning.fabric.x", True),
        ("raise ValueError('a sentence')", "users.model", False),
        ("int('no number')", "lightning.pytorch.loops", False),  # a bug, not a sentence
        ("raise KeyError('name')", "lightning.pytorch.loops", False),
    ],
)
def test_what_lightning_raises_by_a_statement_is_a_refusal(tmp_path, code, module, is_one):
    assert is_refusal(error_of(code, module, tmp_path)) is is_one


def test_an_interval_longer_than_the_epoch_is_one_sentence(refused, settings, evaluation):
    said = refused("fit", *settings, *evaluation, "trainer.val_check_interval=100")

    assert "`val_check_interval` (100) must be less than or equal to" in said


def test_a_run_that_was_trained_keeps_its_folder_whoever_refuses(run, settings, evaluation):
    with pytest.raises(SystemExit) as leaving:
        run(
            "fit",
            *settings,
            *evaluation,
            "hydra.run.dir=here",
            "validate_before=false",
            "callbacks.checkpoint.monitor=val/nope",
        )

    assert "could not find the monitored key" in str(leaving.value)
    assert str(leaving.value).endswith("the checkpoints and logs so far are kept)")
    assert Path("here/logs/metrics.csv").exists()
