"""A Lightning Fabric loop on the sample, in one process or several:

python examples/fabric_loop.py
python examples/fabric_loop.py 2
"""

import sys

import lightning
import torch

from llm_embedder_data import BiEncoder, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.training.losses import contrastive_loss, known_positive_mask

n_processes = int(sys.argv[1]) if sys.argv[1:] else 1
fabric = lightning.Fabric(accelerator="cpu", devices=n_processes)
fabric.launch()

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
loader = fabric.setup_dataloaders(datamodule.train_dataloader())  # Fabric calls set_epoch

fabric.seed_everything(0, verbose=False)
model = BiEncoder(demo_encoder(), pooling="mean")
model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-4))

for epoch in range(2):
    losses = []
    for batch in loader:
        n_queries, group_size = batch["key_mask"].shape
        query, key = model(batch["query"]), model(batch["key"])
        keys = fabric.all_gather(key, sync_grads=True).reshape(-1, key.shape[-1])
        key_ids = fabric.all_gather(batch["key_id"]).flatten()
        first = fabric.global_rank * len(key)
        target = first + group_size * torch.arange(n_queries, device=fabric.device)
        no_negative = known_positive_mask(key_ids, batch["positive_id"])
        loss = contrastive_loss(query @ keys.T / 0.05, target, no_negative)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    fabric.print(f"epoch {epoch}: {len(losses)} steps, loss {sum(losses) / len(losses):.3f}")
