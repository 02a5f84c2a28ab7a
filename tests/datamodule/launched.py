"""A training script, as test_launchers.py starts it: FOLDER OUT {a Trainer's arguments}."""

import json
import sys
from pathlib import Path

from datamodule_cases import Recorder, eval_arguments, make_datamodule, make_trainer


class Writer(Recorder):
    """Leaves what its rank trained on, (dataset, rows) a step, in ``out``/rank<rank>.json."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def on_train_end(self):
        trained = [seen[:2] for seen in self.trained.values()]
        Path(self.out, f"rank{self.trainer.global_rank}.json").write_text(json.dumps(trained))


if __name__ == "__main__":
    folder, out, settings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    # Forked from a process that was spawned, a worker takes seconds to leave (torch 2.13).
    workers = 0 if settings["strategy"] == "ddp_spawn" else 1
    make_trainer(num_sanity_val_steps=2, **settings).fit(
        Writer(out),
        datamodule=make_datamodule(
            folder, batch_size=2, num_workers=workers, **eval_arguments(folder)
        ),
    )
