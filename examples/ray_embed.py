"""Embed a corpus with Ray Data: each task writes its share of the shards of one store.

    python ray_embed.py my/encoder corpus.jsonl /shared/store --tasks 16 --gpus-per-task 1

All machines must see the corpus and the store. If Ray starts a task again, the task writes only the
shards that are still missing.
"""

import argparse
import os
from typing import Any

import ray
import ray.data
import torch

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.mining.store_filling import Share, fill_store
from llm_embedder_data.mining.text_embedder import TextEmbedder


def embed_share(row: dict[str, Any], args: argparse.Namespace) -> dict[str, int]:
    """Write the missing shards of share ``row["id"]``; return the number of shards written."""
    data = RetrievalDataModule(tokenizer=args.encoder, corpus=args.corpus)
    data.prepare_data()
    data.setup("predict")
    model = BiEncoder(args.encoder).to("cuda" if torch.cuda.is_available() else "cpu")
    model.check_data_module(data)
    [corpus] = data.texts_to_embed("corpus").values()
    lengths: dict[str, Any] = {"prompt": corpus.prompt, "max_length": corpus.max_length}
    embedder = TextEmbedder(model, data.tokenizer, **lengths)
    share = Share(int(row["id"]), args.tasks)
    return {"written": fill_store(args.store, corpus.texts, embedder, share=share).n_written}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("encoder", "corpus", "store"):
        parser.add_argument(name, type=str if name == "encoder" else os.path.abspath)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--gpus-per-task", type=float, default=0)
    args = parser.parse_args()
    if "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=args.tasks, log_to_driver=False)  # a cluster on this machine
    shares = ray.data.range(args.tasks, override_num_blocks=args.tasks)
    done = shares.map(embed_share, fn_args=[args], num_gpus=args.gpus_per_task or None)
    written = [row["written"] for row in done.take_all()]
    print(f"{args.tasks} tasks wrote {sum(written)} shards")
