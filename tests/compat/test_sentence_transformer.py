"""sentence-transformers' trainer trains on the data module's batches."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from slow_cases import mostly_slow
from transformers import AutoTokenizer, BertConfig, BertModel

pytest.importorskip("sentence_transformers")

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MultipleNegativesRankingLoss

from llm_embedder_data import ConfigError, RetrievalDataModule
from llm_embedder_data.compat.sentence_transformer import feature_loader

GROUP_SIZE = 3


@pytest.fixture(scope="module")
def tiny(minilm, tmp_path_factory):
    """The folder of an encoder of one small layer, with its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


TRAIN = [f"pkg://llm_embedder_data/sample/{task}/train.jsonl" for task in ("qa", "tool", "icl")]


def make_datamodule(tiny, cache_dir, **arguments):
    settings = {"batch_size": 8, "query_max_length": 32, "key_max_length": 32, "num_workers": 0}
    settings |= {"train_data": TRAIN, "max_sample_num": 20, "train_group_size": GROUP_SIZE}
    datamodule = RetrievalDataModule(
        tokenizer=tiny, cache_dir=str(cache_dir), **(settings | arguments)
    )
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


class Recording(MultipleNegativesRankingLoss):
    """Keeps the tokens of every column of each step."""

    def __init__(self, model):
        super().__init__(model)
        self.seen = []

    def forward(self, sentence_features, labels):
        features = list(sentence_features)
        self.seen.append([column["input_ids"].tolist() for column in features])
        return super().forward(features, labels)


def make_trainer(tiny, out, datamodule, **arguments):
    class Trainer(SentenceTransformerTrainer):
        def get_train_dataloader(self):
            return feature_loader(datamodule)

    model = SentenceTransformer(tiny, device="cpu")
    settings = {"num_train_epochs": 2, "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    settings |= {"save_strategy": "no"}
    return Trainer(
        model=model,
        args=SentenceTransformerTrainingArguments(str(out), **(settings | arguments)),
        loss=Recording(model),
    )


def columns_of_plan(datamodule):
    """The tokens of every column, step by step, from the data module's own loader."""
    loader, seen = datamodule.train_dataloader(), []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            key = batch["key"]["input_ids"]
            key = key[batch["key_inverse"]] if "key_inverse" in batch else key
            columns = [key[place::GROUP_SIZE].tolist() for place in range(GROUP_SIZE)]
            seen.append([batch["query"]["input_ids"].tolist(), *columns])
    return seen


@pytest.mark.parametrize(
    "case", mostly_slow([(0, False), (0, True), (2, False), (2, True)], (0, False), (2, True))
)
def test_it_trains_on_the_groups_of_the_plan(tiny, tmp_path, case):
    arguments = dict(zip(("num_workers", "unique_keys"), case, strict=True))
    datamodule = make_datamodule(tiny, tmp_path / "cache", **arguments)
    trainer = make_trainer(tiny, tmp_path / "out", datamodule)

    trainer.train()

    plan = columns_of_plan(datamodule)
    assert trainer.state.global_step == len(plan) == 2 * len(datamodule.plan())
    assert trainer.loss.seen == plan
    assert sorted(map(str, plan[: len(plan) // 2])) != sorted(map(str, plan[len(plan) // 2 :]))


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint_where_it_stopped(tiny, tmp_path):
    datamodule = make_datamodule(tiny, tmp_path / "cache")
    saving = {"save_strategy": "steps", "save_steps": 3}
    make_trainer(tiny, tmp_path / "out", datamodule, **saving).train()
    plan = columns_of_plan(datamodule)

    assert len(plan) == 12
    for n_steps in (3, 6, 9):
        trainer = make_trainer(tiny, tmp_path / "again", datamodule)
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{n_steps}"))

        assert trainer.loss.seen == plan[n_steps:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"layout": "packed"}, "set data.layout='padded'"),
        ({"layout": "chunked"}, "set data.layout='padded'"),
        ({"cross": True}, "data.cross=False"),
    ],
)
def test_batches_that_its_losses_cannot_take_are_refused(tiny, tmp_path, arguments, sentence):
    datamodule = make_datamodule(tiny, tmp_path / "cache", **arguments)

    with pytest.raises(ConfigError, match=re.escape(sentence)):
        next(iter(feature_loader(datamodule)))


def test_a_query_without_negatives_is_refused(tiny, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": ["n"] * (i == 0)} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = {"train_data": str(path), "on_no_negatives": "keep"}
    datamodule = make_datamodule(tiny, tmp_path / "cache", **arguments)

    with pytest.raises(ConfigError, match=r"a query without negatives.*on_no_negatives='drop'"):
        next(iter(feature_loader(datamodule)))


def test_distilling_losses_find_the_teachers_scores_under_label(tiny, tmp_path):
    datamodule = make_datamodule(tiny, tmp_path / "cache")

    batches = list(feature_loader(datamodule))

    assert {batch["dataset_name"] for batch in batches if "label" in batch} == {"qa", "icl"}
    for batch, original in zip(batches, datamodule.train_dataloader(), strict=True):
        if "label" in batch:
            assert torch.equal(batch["label"], original["teacher_scores"])


_TWO_PROCESSES = """
import os, sys
from pathlib import Path
import torch
sys.path[:0] = {tests!r}
from test_sentence_transformer import make_datamodule, make_trainer, columns_of_plan

if __name__ == "__main__":
    folder = Path({folder!r})
    datamodule = make_datamodule({tiny!r}, folder / "cache", batch_size=4)
    trainer = make_trainer({tiny!r}, folder / "out", datamodule, ddp_backend="gloo")
    trainer.train()
    assert trainer.loss.seen == columns_of_plan(datamodule)
    gathered = [None, None]
    tasks = [batch["task"] for batch in datamodule.train_dataloader()]
    rows = [batch["row"].tolist() for batch in datamodule.train_dataloader()]
    torch.distributed.all_gather_object(gathered, (tasks, rows))
    assert gathered[0][0] == gathered[1][0]
    assert all(not set(a) & set(b) for a, b in zip(gathered[0][1], gathered[1][1]))
    # A file a rank: what two processes print may come in pieces, each between the other's.
    (folder / f"rank{{trainer.args.process_index}}").write_text(f"{{len(tasks)}} steps agree")
    torch.distributed.barrier()
    os._exit(0)  # gloo's own threads may abort a process that leaves after the other has
"""


@pytest.mark.slow
@pytest.mark.ranks
def test_two_processes_train_on_one_task_and_on_different_rows(tiny, tmp_path):
    script = tmp_path / "train.py"
    tests = [str(folder) for folder in Path(__file__).parents[:2]]
    script.write_text(_TWO_PROCESSES.format(tests=tests, folder=str(tmp_path), tiny=tiny))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=170, check=False
    )

    said = [path.read_text() for path in sorted(tmp_path.glob("rank*"))]
    assert said == ["6 steps agree"] * 2, done.stdout + done.stderr[-3000:]
