"""``fit``: training, checkpoints, the exported encoder."""

import json

import pytest
import torch
from cli_cases import small
from transformers import AutoTokenizer, BertModel


def test_fit_trains_measures_and_exports(run, tiny, sample_dir, tmp_path):
    out = run(
        "fit",
        *small(tiny),
        f"data.train_data={{qa: {sample_dir}/qa/train.jsonl, tool: {sample_dir}/tool/train.jsonl}}",
        f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
        f"data.corpus={{tool: {sample_dir}/tool/corpus.jsonl}}",
        "data.key_template='{text}'",
        "hydra.run.dir=here",
    )

    assert "tool" in out
    assert "val/tool/mrr@10" in out
    assert "before" in out
    assert (tmp_path / "here/checkpoints/last.ckpt").exists()
    encoder = BertModel.from_pretrained(tmp_path / "here/encoder")
    assert encoder.config.hidden_size == 8
    assert AutoTokenizer.from_pretrained(tmp_path / "here/encoder").is_fast


def test_fit_goes_on_from_its_checkpoint(run, tiny, sample_dir, tmp_path):
    data = f"data.train_data={sample_dir}/tool/train.jsonl"
    run("fit", *small(tiny, data, "hydra.run.dir=first"))
    checkpoint = tmp_path / "first/checkpoints/last.ckpt"

    run(
        "fit",
        *small(
            tiny, data, "hydra.run.dir=second", f"ckpt_path={checkpoint}", "trainer.max_epochs=2"
        ),
    )

    state = torch.load(tmp_path / "second/checkpoints/last.ckpt")  # weights_only, the default
    assert state["global_step"] == 6
    assert state["RetrievalDataModule"]["epoch"] == 2


def test_a_file_with_query_pos_and_neg_alone_trains_with_the_defaults(run, tiny, tmp_path):
    rows = [
        {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i} {j}" for j in range(9)]}
        for i in range(64)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    with pytest.warns(UserWarning, match="name no task: taken as 'qa'"):
        out = run(
            "fit",
            f"encoder={tiny}",
            f"data.train_data={path}",
            "trainer.enable_progress_bar=false",
            "trainer.accelerator=cpu",
            "trainer.devices=1",
        )

    assert "instruction: none" in out
