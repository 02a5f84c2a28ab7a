"""Makes Lightning ask for the training loader of a fit again."""

from __future__ import annotations

from lightning.pytorch import Trainer


def forget_training_loader(trainer: Trainer) -> None:
    """Make a fit that has not begun ask for its training loader again.

    Strategies that restore after their setup (FSDP, DeepSpeed) restore the data module when a
    learning-rate schedule has already requested the loader. Lightning 2.6 would keep that loader.
    """
    trainer.fit_loop._combined_loader = None


def renew_training_loader(trainer: Trainer) -> None:
    """Make the training loader of a running fit anew, if it has one.

    The workers of the old loader have the rows as they were.
    """
    if trainer.fit_loop._combined_loader:
        trainer.fit_loop._combined_loader = None
        trainer.fit_loop.setup_data()
