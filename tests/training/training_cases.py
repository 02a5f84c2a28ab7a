"""What the tests of BiEncoder are made of: tiny encoders, batches, trainers."""

import lightning
import tiny_models
import torch
from torch.utils.data import DataLoader

N_TOKENS = 60


def tiny_bert(seed=0):
    """A BERT of two layers that is the same each time, without dropout."""
    return tiny_models.tiny_bert(
        N_TOKENS,
        seed=seed,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,  # at 0.02 all texts have nearly the same embedding
    )


def texts(n_texts, seed, length=6):
    """Tokens of random texts of 2 to ``length`` tokens, padded on the right."""
    random = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, length + 1, (n_texts, 1), generator=random)
    mask = (torch.arange(length) < sizes).long()
    ids = torch.randint(1, N_TOKENS, (n_texts, length), generator=random)
    return {"input_ids": ids * mask, "attention_mask": mask}


def training_batch(task="contrast", n_queries=4, group_size=3, seed=0, in_batch_negatives=True):
    """DESIGN 4's training batch; the last query has no teacher scores, the second a padded key."""
    random = torch.Generator().manual_seed(seed)
    key_mask = torch.ones(n_queries, group_size).long()
    key_mask[1, -1] = 0
    teacher = torch.randn(n_queries, group_size, generator=random)
    teacher = teacher.sort(dim=1, descending=True).values
    teacher[-1] = float("nan")
    key_id = torch.arange(1, n_queries * group_size + 1)
    positive_id = torch.zeros(n_queries, 2).long()
    positive_id[:, 0] = key_id[::group_size]
    positive_id[0, 1] = key_id[-1]  # a key of the last query answers the first one too
    return {
        "query": texts(n_queries, seed + 1),
        "key": texts(n_queries * group_size, seed + 2),
        "key_mask": key_mask,
        "teacher_scores": None if task == "contrast" else teacher,
        "task": task,
        "dataset": "toy",
        "query_text_id": torch.arange(1, n_queries + 1),
        "key_id": key_id,
        "positive_id": positive_id,
        "in_batch_negatives": in_batch_negatives,
    }


def share(value, rank, n_ranks):
    """A rank's rows of a whole batch."""
    if isinstance(value, dict):
        return {name: share(one, rank, n_ranks) for name, one in value.items()}
    return value.chunk(n_ranks)[rank] if isinstance(value, torch.Tensor) else value


def corpus_batch(name, rows, seed=50):
    """The given rows of a corpus of 40 random texts."""
    whole = texts(40, seed)
    rows = torch.tensor(rows)
    return {
        "content": {key: value[rows] for key, value in whole.items()},
        "index": rows,
        "dataset": name,
    }


def query_batch(name, rows, corpus="wiki", positives=None, seed=50):
    """Queries that are corpus texts with another first token; row r asks for corpus row r."""
    query = corpus_batch(corpus, rows, seed)["content"]
    ids = query["input_ids"].clone()
    ids[:, 0] = 1 + ids[:, 0] % 7
    positives = [[row, (row * 7) % 40] for row in rows] if positives is None else positives
    return {
        "query": {**query, "input_ids": ids},
        "query_id": [f"q{row}" for row in rows],
        "task": "qa",
        "dataset": name,
        "corpus": corpus,
        "row": torch.tensor(rows),
        "pos_index": torch.tensor(positives),
    }


def rerank_batch(name, rows, n_keys=4):
    """The same queries, each with its positive and three other keys."""
    batch = query_batch(name, rows, corpus=None)
    key_index = torch.tensor([[(row + 3 * i) % 40 for i in range(n_keys)] for row in rows])
    key_mask = torch.ones_like(key_index)
    key_mask[:, 0] = torch.tensor(rows) % 2  # every second positive is padding
    whole = texts(40, 50)
    key = {key: value[key_index.flatten()] for key, value in whole.items()}
    return {**batch, "key": key, "key_mask": key_mask, "key_index": key_index}


class Batches(lightning.LightningDataModule):
    """Ready batches: a list to train on, and lists to evaluate on."""

    def __init__(self, train=(), evaluate=(), predict=()):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.train, self.evaluate, self.predict = train, evaluate, predict

    def train_dataloader(self):
        return DataLoader(list(self.train), batch_size=None)

    def val_dataloader(self):
        return [DataLoader(list(batches), batch_size=None) for batches in self.evaluate]

    def test_dataloader(self):
        return self.val_dataloader()

    def predict_dataloader(self):
        return DataLoader(list(self.predict), batch_size=None)


def quiet_trainer(**settings):
    """A Trainer on the CPU that writes nothing."""
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }
    return lightning.Trainer(**(quiet | settings))
