"""Data sets of a few rows, and data modules of them."""

import json

from llm_embedder_data import RetrievalDataModule


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def opened(folder, minilm, train, evals=(), corpus=(), **settings):
    data = {
        "train_data": {name: write(folder / name / "t.jsonl", rows) for name, rows in train.items()}
    }
    if evals:
        data["eval_data"] = {"e": write(folder / "e" / "e.jsonl", evals)}
        data["corpus"] = {"e": write(folder / "e" / "c.jsonl", corpus)}
    module = RetrievalDataModule(
        str(minilm),
        **data,
        recipe={"name": "mine", "instruction": {"*": {"query": "find: ", "key": ""}}},
        batch_size=2,
        query_max_length=16,
        key_max_length=16,
        small_datasets="drop",
        cache_dir=folder / "cache",
        **settings,
    )
    module.prepare_data()
    module.setup("fit")
    return module


def counts(diagnosis, name):
    checks = diagnosis["datasets"][name]["checks"]
    return {check: found["count"] for check, found in checks.items() if found["count"]}


def row(query, pos, neg, **more):
    return {"query": query, "pos": pos, "neg": neg, **more}


SOUND = [
    row(f"how deep is harbour {i}", [f"harbour {i} is deep"], [f"no ship {i}"]) for i in range(4)
]
