"""Classes that a user of the console might name by ``_target_``."""

import lightning
import torch
from hydra.experimental.callback import Callback as HydraCallback
from lightning.pytorch.strategies import SingleDeviceStrategy


class OwnModel(lightning.LightningModule):
    """A model with arguments of its own."""

    def __init__(self, width: int, lr: float, part: object = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.lr, self.part = lr, part

    def training_step(self, batch, _):
        assert self.lr == 0.25
        return self.layer(batch["query"]["input_ids"][:, : self.layer.in_features].float()).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


class OwnPart:
    """What a model may be made of."""

    def __init__(self, size: int) -> None:
        self.size = size


class Sharded(SingleDeviceStrategy):
    """Restores weights as late as strategies do that shard them over ranks."""

    restore_checkpoint_after_setup = True


class OwnTrainer(lightning.Trainer):
    """A subclass of Lightning's trainer."""


SEEN: list[lightning.Trainer] = []


class Recorder(lightning.Callback):
    """Keeps the trainer that it was called by."""

    def __init__(self, tag: str = "") -> None:
        self.tag = tag

    def on_fit_start(self, trainer, pl_module):
        SEEN.append(trainer)


# What jobs returned; the fixture of the name puts a list of its own here.
RETURNED: list[object] = []


class Spy(HydraCallback):
    """Keeps what the jobs returned, or raised."""

    def on_job_end(self, config, job_return, **_):
        try:
            RETURNED.append(job_return.return_value)
        except Exception as error:
            RETURNED.append(error)
