"""``ckpt_path``: what is a checkpoint, and of which model."""

import shutil
from pathlib import Path

import pytest
import torch
from users_classes import OwnPart

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_content


def _nothing(path: Path) -> None:
    (path.parent / "last.ckpt").write_bytes(b"")


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _folder_of_checkpoints(path: Path) -> None:
    path.mkdir()
    (path / "last.ckpt").touch()


def _garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 9)


def _cut_off(path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:900])


def _weights_alone(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)


def _list(path: Path) -> None:
    torch.save([1, 2], path)


def _no_numbers(path: Path) -> None:
    torch.save({"state_dict": [1]}, path)


@pytest.mark.parametrize(
    ("verb", "make", "sentence"),
    [
        ("fit", _nothing, "there is no such file; did you mean"),
        ("validate", _nothing, "there is no such file; did you mean"),
        ("fit", _empty_folder, "is a folder, not a checkpoint"),
        ("fit", _folder_of_checkpoints, "in it there are lst.ckpt/last.ckpt"),
        ("fit", _garbage, "is not a checkpoint: not an archive"),
        ("validate", _cut_off, "is not a checkpoint: not an archive"),
        ("fit", _weights_alone, "has no 'state_dict'"),
        ("validate", _list, "has no 'state_dict'"),
        ("validate", _no_numbers, "has no 'state_dict'"),
    ],
)
def test_what_is_no_checkpoint_is_named(refused, tmp_path, tiny, verb, make, sentence):
    make(tmp_path / "lst.ckpt")

    data = "data.eval_data=x.jsonl" if verb == "validate" else "data.train_data=x.jsonl"
    said = refused(verb, f"encoder={tiny}", data, "ckpt_path=lst.ckpt")

    assert "ckpt_path='lst.ckpt'" in said
    assert sentence in said


def test_a_checkpoint_is_taken_by_the_name_that_lightning_gave_it(
    run, settings, evaluation, tmp_path, refused
):
    run("fit", *settings, "hydra.run.dir=first", "trainer.enable_progress_bar=false")
    shutil.copy("first/checkpoints/last.ckpt", "epoch=0-step=2.ckpt")
    settings += ["ckpt_path=epoch=0-step=2.ckpt"]

    assert "val/mine/ndcg@10" in run("validate", *settings, *evaluation)
    run("fit", *settings, "hydra.run.dir=second", "trainer.max_epochs=2")

    assert torch.load("second/checkpoints/last.ckpt")["global_step"] == 4
    # Of another model, it is refused before Lightning lists every weight.
    shutil.rmtree("outputs")
    other = "model._target_=users_classes.OwnModel"
    assert "is of another model" in refused("fit", *settings, other, "model.width=8", "model.lr=1")
    demo = ["encoder=demo", f"data.corpus={evaluation[-1].partition('=')[2]}", "out=store"]
    assert "is of another model" in refused("embed", *demo, settings[-1])


def test_a_checkpoint_with_classes_of_the_user_is_left_to_the_model(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "hyper_parameters": OwnPart(3)}, path)

    assert check_checkpoint_content(str(path), "fit") == {}
