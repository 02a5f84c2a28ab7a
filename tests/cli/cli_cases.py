"""Settings and files of short runs."""

import json
from pathlib import Path

# Adds the Hydra callback whose list is the fixture ``returned``.
SPY = "+hydra.callbacks.spy._target_=users_classes.Spy"


def small(tiny: str, *more: str) -> list[str]:
    """Overrides that make a run short."""
    return [
        f"encoder={tiny}",
        "data.batch_size=4",
        "data.query_max_length=24",
        "data.key_max_length=24",
        "data.train_group_size=3",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "trainer.limit_train_batches=3",
        "trainer.enable_progress_bar=false",
        *more,
    ]


def write_rows(folder: Path, name: str = "mine") -> Path:
    """Make a folder with train.jsonl, eval.jsonl and corpus.jsonl."""
    folder = folder / name
    folder.mkdir(parents=True)
    train = [
        {"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i} a", f"n {i} b"]} for i in range(8)
    ]
    # Some queries have another right passage than the nearest, so that no metric is 0 or 1.
    tests = [{"query": f"text {i}", "pos_index": [i + i % 3]} for i in range(7)]
    corpus = [{"title": "", "text": f"text {i}"} for i in range(9)]
    for kind, content in (("train", train), ("eval", tests), ("corpus", corpus)):
        lines = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{kind}.jsonl").write_text(lines)
    return folder
