"""The commands of README.md and docs/ do what they say, on small files of the names they read.

Settings are added that make a run small: a step of training, one process. The commands of a page
run in order in one folder, so that one reads what another wrote.
"""

import json
import re
import shutil

import pytest
from tiny_models import ONE_LAYER, save_bert
from transformers import BertForSequenceClassification

from tests.doc_blocks import PAGES, console_commands, page_id, without_sweeps, write_yaml

pytestmark = pytest.mark.slow

# What a command contains that is not tried, and why. They are composed: see test_doc_blocks.
NOT_TRIED = {
    "teacher=meta-llama/": "a teacher of billions of weights",
    "teacher=Qwen/": "a teacher of billions of weights",
    "teacher=cross-encoder/": "a teacher from the hub",
    "path: train.jsonl, scores:": "the scores of these teachers",
    "/shared/": "a disk of a cluster",
    "model.lora": "weights that the small encoder does not have",
    "matryoshka_dims": "weights that the small encoder does not have",
    "hydra/sweeper=optuna": "many runs: see test_sweeps",
    "--cfg": "nothing is run",
}

ONE_STEP = [
    *[
        "trainer.max_steps=1",
        "trainer.devices=1",
        "trainer.strategy=auto",
        "trainer.accelerator=cpu",
    ],
    *["trainer.precision=32-true", "data.batch_size=2", "data.train_group_size=2"],
    *["trainer.enable_progress_bar=false", "validate_before=false", "data.on_no_negatives=keep"],
]
SMALL = {
    "fit": ONE_STEP,
    "plan": ["world_size=2", "step=1", "rank=1", "data.batch_size=2"],
    "inspect": ["data.batch_size=2"],
    "embed": ["trainer.accelerator=cpu", "trainer.precision=32-true"],
    "mine": ["trainer.accelerator=cpu"],
    "validate": ["trainer.accelerator=cpu"],
    "score": ["trainer.accelerator=cpu"],
}
# Steps and ranks that the run of a few rows has, in place of those that the page names.
FEWER = {
    "epoch=3": "epoch=1",
    "step=1200": "step=1",
    "rank=5": "rank=0",
    "world_size=8": "world_size=2",
}
FEWER["trainer.val_check_interval=500"] = "trainer.val_check_interval=1"
TRIED = [page for page in PAGES if console_commands(page)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def train_rows(n_rows=64):
    topics = ("ferry", "tram", "night bus", "funicular")
    for i in range(n_rows):
        topic, hour = topics[i % 4], i % 24
        query = "When does the last ferry leave?" if i == 17 else f"Does {topic} {i} run at {hour}?"
        answer = f"Yes, number {i} leaves at {hour}:10."
        yield {"query": query, "query_id": f"q-{i}", "pos": [answer], "neg": [f"Pier {i} is shut."]}


def eval_rows():
    return [
        {
            "query": f"Who sells ticket {i}?",
            "relevant": {f"d{i}": 1},
            "pos": ["He."],
            "neg": ["She."],
        }
        for i in range(8)
    ]


def corpus_rows():
    yield from ({"id": f"d{i}", "title": "", "text": f"Shop {i} sells it."} for i in range(8))
    for i, row in enumerate(train_rows()):
        yield {"id": f"t{i}", "title": "", "text": row["pos"][0]}


def write_folder(folder):
    """Write a data set in BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": f"Shop {i} sells it."} for i in range(40)]
    queries = [{"_id": f"q{i}", "text": f"Who sells ticket {i}?"} for i in range(40)]
    (folder / "corpus.jsonl").write_text(lines(documents))
    (folder / "queries.jsonl").write_text(lines(queries))
    for split, judged in (("train", range(32)), ("test", range(32, 40))):
        rows = "".join(f"q{i}\td{i}\t1\n" for i in judged)
        (folder / f"qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def write_what_is_read(command, folder):
    """Write the files that a command names and that are not there, by what their names say."""
    for name in re.findall(
        r"[\w/*.-]+(?:\.jsonl|\.csv|/(?=[ ,}\]]|$))|(?:nano|example_data)/\w[\w-]*", command
    ):
        path = folder / name.replace("*", "any")
        if path.exists() or re.search(rf"\b(out|json|fix)={re.escape(name)}", command):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            rows = [f"{row['query']},{row['pos'][0]},{row['neg'][0]}" for row in train_rows()]
            path.write_text(
                "\n".join(["anchor,positive,negative", *(r.replace("Yes, ", "") for r in rows)])
            )
        elif path.suffix != ".jsonl":
            write_folder(path)
        elif "corpus" in path.name:
            path.write_text(lines(corpus_rows()))
        elif re.search("eval|test", path.name):
            path.write_text(lines(eval_rows()))
        else:
            path.write_text(lines(train_rows()))


@pytest.fixture
def tried(run, tiny, tmp_path):
    """Run a command as a small one, with the files that it names."""
    shutil.copytree(tiny, tmp_path / "my/encoder")
    one_label = {"num_labels": 1, **ONE_LAYER}
    save_bert(tmp_path / "my/reranker", tiny, BertForSequenceClassification, **one_label)

    def checkpoint(command):
        """A checkpoint of a run on the training data of a command."""
        data = re.findall(r"data\.(?:train_data|tokenizer)=(?:\{.*?\}|\S+)", command)
        words = ["fit", "encoder=my/encoder", *(data or ["data.train_data=train.jsonl"])]
        write_what_is_read(" ".join(words), tmp_path)
        run(*words, *ONE_STEP, "export=false", "output_dir=first")
        return tmp_path / "first/checkpoints/last.ckpt"

    def call(words):
        command = " ".join(words)
        write_what_is_read(command, tmp_path)
        for name in re.findall(r"[\w/-]+\.ckpt", command):
            if not (tmp_path / name).exists():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(checkpoint(command), tmp_path / name)
        small = SMALL.get(words[0], [])
        if words[0] not in ("explain", "export") and "encoder=my/" not in command:
            small = [*small, "encoder=my/encoder"]
        words = [FEWER.get(word, word) for word in words]
        run(*without_sweeps(words), *small)

    return call


@pytest.mark.parametrize("page", TRIED, ids=page_id)
def test_the_commands_of_a_page_run(page, tried, tmp_path):
    write_yaml(page, tmp_path)
    for words in console_commands(page):
        if not any(part in " ".join(words) for part in NOT_TRIED):
            tried(words)


def test_each_reason_not_to_try_a_command_is_one():
    commands = [" ".join(words) for page in PAGES for words in console_commands(page)]

    assert [part for part in NOT_TRIED if not any(part in one for one in commands)] == []
