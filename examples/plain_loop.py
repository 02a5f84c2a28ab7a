"""A plain PyTorch loop on the sample, in one process or several:

python examples/plain_loop.py
torchrun --nproc-per-node=2 examples/plain_loop.py
"""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.training.losses import contrastive_loss, known_positive_mask

if "RANK" in os.environ:  # torchrun started this process
    dist.init_process_group("gloo")
rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather(tensor):
    """Concatenate the tensors of all ranks; gradients flow to this rank's tensor only."""
    if world_size == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size)]
    dist.all_gather(parts, tensor)
    parts[rank] = tensor
    return torch.cat(parts)


datamodule = RetrievalDataModule(
    tokenizer=demo_encoder(),
    train_data=[f"pkg://llm_embedder_data/sample/{task}/train.jsonl" for task in ("qa", "tool")],
    max_sample_num=8,  # few rows, so that this takes seconds
    batch_size=4,
    train_group_size=2,
    query_max_length=32,
    key_max_length=32,
)
datamodule.prepare_data()
datamodule.setup("fit")
loader = datamodule.train_dataloader()  # this rank's batches; in a step, all ranks have one task

torch.manual_seed(0)
model = BiEncoder(demo_encoder(), pooling="mean")
encode = DistributedDataParallel(model) if world_size > 1 else model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

for epoch in range(2):
    loader.sampler.set_epoch(epoch)
    losses = []
    for batch in loader:
        n_queries, group_size = batch["key_mask"].shape
        query, key = encode(batch["query"]), gather(encode(batch["key"]))
        target = group_size * (torch.arange(n_queries) + rank * n_queries)
        no_negative = known_positive_mask(gather(batch["key_id"]), batch["positive_id"])
        loss = contrastive_loss(query @ key.T / 0.05, target, no_negative)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    if rank == 0:
        print(f"epoch {epoch}: {len(losses)} steps, loss {sum(losses) / len(losses):.3f}")

if world_size > 1:
    dist.destroy_process_group()
