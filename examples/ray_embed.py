"""Embed a corpus on a Ray cluster: each task writes its share of the shards of one store.

    python ray_embed.py my/encoder corpus.jsonl /shared/store --tasks 16 --gpus-per-task 1

All machines must see the corpus and the store's folder. Ray starts a lost task again, and it goes
on with the shards that are missing. Without RAY_ADDRESS, a cluster is started on this machine.
"""

import argparse

import ray
import torch

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.mining.store_filling import Share, fill_store
from llm_embedder_data.mining.text_embedder import TextEmbedder


@ray.remote(max_retries=3)
def embed_share(encoder: str, corpus: str, root: str, share: Share) -> int:
    """Write the missing shards of a share; return how many they were."""
    datamodule = RetrievalDataModule(tokenizer=encoder, corpus=corpus)
    datamodule.prepare_data()
    datamodule.setup("predict")
    model = BiEncoder(encoder).to("cuda" if torch.cuda.is_available() else "cpu")
    model.check_data_module(datamodule)
    [passages] = datamodule.texts_to_embed("corpus").values()
    embedder = TextEmbedder(
        model, datamodule.tokenizer, prompt=passages.prompt, max_length=passages.max_length
    )
    return fill_store(root, passages.texts, embedder, share=share).n_written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("encoder", "corpus", "store"):
        parser.add_argument(name)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--gpus-per-task", type=float, default=0)
    args = parser.parse_args()
    ray.init(log_to_driver=False)
    task = embed_share.options(num_gpus=args.gpus_per_task)
    shares = [Share(index, args.tasks) for index in range(args.tasks)]
    written = ray.get(
        [task.remote(args.encoder, args.corpus, args.store, share) for share in shares]
    )
    print(f"{args.tasks} tasks wrote {' + '.join(map(str, written))} shards")


if __name__ == "__main__":
    main()
