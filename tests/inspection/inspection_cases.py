"""Small data for looking at batches, and data modules of it."""

import json
import warnings

from llm_embedder_data import RetrievalDataModule

RECIPE = {
    "name": "mine",
    "instruction": {
        "qa": {"query": "ask for this: ", "key": "a passage: "},
        "tool": {"query": "do this: ", "key": ""},
        "chat": {"query": "", "key": "they said: "},
    },
}

WORDS = [
    "harbour",
    "lantern",
    "ferry",
    "winter",
    "island",
    "letter",
    "captain",
    "garden",
    "signal",
    "copper",
]


def text(kind, i, n_words=8):
    return f"{kind} {i} " + " ".join(WORDS[(i * 7 + k * 3) % len(WORDS)] for k in range(n_words))


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(task, n_rows, *, scored=False, n_neg=3):
    """Rows in pairs that share a positive; every third query is long."""
    rows = []
    for i in range(n_rows):
        row = {
            "query": text(f"{task} query", i, 24 if i % 3 == 0 else 4),
            "pos": [text(f"{task} pos", i // 2), text(f"{task} other pos", i)],
            "neg": [text(f"{task} neg", i * n_neg + n, 3 + 6 * n) for n in range(n_neg)],
            "task": task,
            "query_id": f"{task}-{i}",
        }
        if scored:
            row["teacher_scores"] = [float((7 * i + 5 * k) % 13) for k in range(2 + n_neg)]
        rows.append(row)
    return rows


def train_files(folder):
    """Three datasets: of two files, with scores, and with more rows than one global batch."""
    qa = rows_of("qa", 17)
    return {
        "qa": {
            "path": [
                write(folder / "qa" / "one.jsonl", qa[:7]),
                write(folder / "qa" / "two.jsonl", qa[7:]),
            ]
        },
        "tool": write(folder / "tool" / "train.jsonl", rows_of("tool", 13, scored=True)),
        "chat": write(folder / "chat" / "train.jsonl", rows_of("chat", 9, n_neg=1)),
    }


def opened(folder, tokenizer, **settings):
    """A data module of :func:`train_files`, set up."""
    given = {
        "train_data": train_files(folder),
        "recipe": RECIPE,
        "batch_size": 4,
        "train_group_size": 4,
        "query_max_length": 16,
        "key_max_length": 20,
        "seed": 3,
        "num_workers": 0,
        "cache_dir": str(folder / "cache"),
    }
    module = RetrievalDataModule(tokenizer, **(given | settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        module.prepare_data()
        module.setup("fit")
    return module
