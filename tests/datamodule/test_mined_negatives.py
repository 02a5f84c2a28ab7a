"""Mined negatives in batches: what is taken for a positive is masked on all ranks."""

import warnings

import lightning
import pytest
import torch
from datamodule_cases import batches, make_tokenizer, make_trainer, opened, write
from processes import returned, run_on_ranks

from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.batches.tokens.bare_tokenizer import BareTokenizer
from llm_embedder_data.core.hashing import text_ids
from llm_embedder_data.rows.files.content_digest import content_digest
from llm_embedder_data.rows.side_cars.scores_beside import head_beside, path_beside
from llm_embedder_data.training.retrieval_loss import competing_keys

N_ROWS = 8
TEXTS = [f"text {i}" for i in range(24)]
# For query i: d(i) is the positive; d(i + 1), another query's positive, is judged by the margin,
# and d(i + 2) holds an answer; d(i + 8) stays a negative.


def write_data(folder):
    write(folder / "corpus.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(TEXTS)])
    write(
        folder / "qa.jsonl",
        [{"query": f"query {i}", "query_id": i, "pos": [TEXTS[i]]} for i in range(N_ROWS)],
    )
    run, beside = [], []
    for i in range(N_ROWS):
        run += [(i, f"d{(i + 1) % N_ROWS}", 0.95), (i, f"d{i + 8}", 0.5)]
        beside += [(i, f"d{i}", 1.0), (i, f"d{(i + 2) % N_ROWS}", "inf")]
    path = folder / "run.tsv"
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in run))
    head = head_beside(content_digest(str(path), folder / "cache"))
    lines = ["\t".join(map(str, line)) for line in beside]
    path_beside(path).write_text("\n".join([head, *lines, ""]))


def datamodule(folder, run="run.tsv", **arguments):
    source = {"path": str(folder / "qa.jsonl"), "negatives": str(folder / run)}
    if "corpus" in arguments:  # of the source alone: its passages are not tokenized otherwise
        source["corpus"] = str(folder / "corpus.jsonl")
    settings = {
        "tokenizer": make_tokenizer(),
        "train_data": {"qa": source},
        "corpus": str(folder / "corpus.jsonl"),
        "absolute_margin": 0.1,
        "train_group_size": 2,
        "batch_size": 4,
        "cache_dir": str(folder / "cache"),
        "query_max_length": 16,
        "key_max_length": 16,
        "num_workers": 0,
    }
    return RetrievalDataModule(**settings | arguments)


@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_what_margin_or_miner_take_for_a_positive_is_in_positive_id(tmp_path, tokenize):
    write_data(tmp_path)
    ids = text_ids(TEXTS).tolist()

    for batch in batches(opened(datamodule(tmp_path, tokenize=tokenize))):
        assert batch["teacher_scores"] is None
        for b, i in enumerate(batch["row"].tolist()):
            known = {ids[i], ids[(i + 1) % N_ROWS], ids[(i + 2) % N_ROWS]}
            assert {key for key in batch["positive_id"][b].tolist() if key} == known
            assert batch["key_id"].view(-1, 2)[b].tolist() == [ids[i], ids[i + 8]]


class Masks(lightning.LightningModule):
    """Keeps which keys of all ranks are no negatives of each query."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = {}

    def training_step(self, batch):
        key = batch["key_id"].float()[:, None]
        found = competing_keys(batch, key, rank=self.global_rank, all_gather=self.all_gather)
        key_id = self.all_gather(batch["key_id"]).flatten()
        for row, excluded in zip(batch["row"].tolist(), found.excluded, strict=True):
            self.seen[row] = (set(key_id[excluded].tolist()), set(key_id.tolist()))
        return self.layer.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _masks_on_rank(rank, folder):
    model = Masks()
    trainer = make_trainer(devices=2, strategy="ddp", max_epochs=1)
    trainer.fit(model, datamodule=datamodule(folder))
    return model.seen


@pytest.mark.ranks
def test_it_is_masked_among_the_keys_of_both_ranks(tmp_path):
    write_data(tmp_path)
    ids = text_ids(TEXTS).tolist()

    first, second = returned(run_on_ranks(_masks_on_rank, 2, tmp_path, tmp_path))

    assert not set(first) & set(second)
    assert len(first | second) == N_ROWS  # one global batch holds them all
    for i, (masked, keys) in (first | second).items():
        assert keys == {key for n in range(N_ROWS) for key in (ids[n], ids[n + 8])}
        assert masked == {ids[i], ids[(i + 1) % N_ROWS], ids[(i + 2) % N_ROWS]}


def test_another_side_car_tokenizes_only_the_texts_that_are_new(tmp_path, monkeypatch):
    write_data(tmp_path)
    how = {"tokenize": "cached", "corpus": None}
    opened(datamodule(tmp_path, **how))
    lines = [f"{i}\td{16 + i % 2}\t0.5" for i in range(N_ROWS)]
    (tmp_path / "other.tsv").write_text("".join(f"{line}\n" for line in lines))
    tokenized = []
    original = BareTokenizer.__call__

    def noting(self, texts):
        tokenized.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(BareTokenizer, "__call__", noting)
    other = opened(datamodule(tmp_path, "other.tsv", absolute_margin=None, **how))

    of_rows = [text for text in tokenized if text.startswith(("text", "query"))]
    assert sorted(of_rows) == ["text 16", "text 17"]  # the others are probe texts
    assert len(batches(other)) == 2


def test_negatives_are_exchanged_in_a_plain_loop(tmp_path):
    write_data(tmp_path)
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"{i}\td{i + 16}\t0.5\n" for i in range(N_ROWS)))
    module = opened(datamodule(tmp_path, absolute_margin=None))
    ids = text_ids(TEXTS).tolist()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        module.exchange_negatives({"qa": other})

    for batch in batches(module, epoch=1):
        for keys, i in zip(
            batch["key_id"].view(-1, 2).tolist(), batch["row"].tolist(), strict=True
        ):
            assert keys == [ids[i], ids[i + 16]]
