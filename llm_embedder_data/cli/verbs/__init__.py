"""The table of verbs.

To add a verb, add a line to :data:`VERBS`, and add a module to this folder. The module and the
function in it have the verb's name. The function takes the composed configuration, and returns the
value that a Hydra sweeper optimizes, or None.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Verb:
    """What the console knows about a verb before its module is imported.

    Importing a verb's module loads torch and Lightning, which takes seconds; ``--help`` must not.

    Attributes:
        name: name of the verb, of its module in this folder, and of the function in that module.
        summary: a sentence for ``--help``.
        config_name: the file in conf/ that the verb's configuration is composed from.
        uses_trainer: whether the verb makes a Trainer, so that callbacks, loggers, ``ckpt_path``
            and output files are checked before it runs.
        has_demo: whether the verb runs on the demo's data if no data is named.
        makes: keys of a source whose files the verb writes and does not read, so that a second
            run may replace them.
    """

    name: str
    summary: str
    config_name: str = "config"
    uses_trainer: bool = True
    has_demo: bool = True
    makes: tuple[str, ...] = ()

    def load(self) -> Callable[[Any], Any]:
        """Import the verb's module and return its function."""
        function: Callable[[Any], Any] = getattr(
            importlib.import_module(f"{__name__}.{self.name}"), self.name
        )
        return function


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("fit", "Train a model on train_data; measure it on eval_data before and after."),
        Verb(
            "validate",
            "Measure a model on eval_data against the corpus.",
            config_name="validate",
        ),
        Verb(
            "plan",
            "Show the plan of a configuration on world_size ranks, and the rows of any of its "
            "steps.",
            config_name="plan",
            uses_trainer=False,
        ),
        Verb(
            "prepare",
            "Read all data, write the caches, and report what is wrong with the data.",
            config_name="prepare",
            uses_trainer=False,
        ),
        Verb(
            "convert",
            "Write train_data, eval_data or a corpus of any format as canonical rows.",
            config_name="convert",
            uses_trainer=False,
            has_demo=False,
        ),
        Verb(
            "embed",
            "Write the embeddings of a corpus, or of queries, to an embedding store.",
            config_name="embed",
            uses_trainer=False,
            has_demo=False,
        ),
        Verb(
            "mine",
            "Write hard negatives of train_data's queries: a file that a source names in "
            "negatives.",
            config_name="mine",
            uses_trainer=False,
            has_demo=False,
            makes=("negatives", "scores"),
        ),
        Verb(
            "score",
            "Write a teacher's scores of the keys of train_data, for `scores:` of a source.",
            config_name="score",
            uses_trainer=False,
            has_demo=False,
            makes=("scores",),
        ),
        Verb(
            "inspect",
            "Show a batch exactly as the model gets it, decoded; html= adds plots of the run's "
            "data.",
            config_name="inspect",
            uses_trainer=False,
        ),
        Verb(
            "explain",
            "Show any batch of a past run, where a text occurs in training, or how two runs "
            "differ.",
            config_name="explain",
            uses_trainer=False,
            has_demo=False,
        ),
        Verb(
            "export",
            "Write an encoder or a checkpoint's model as a sentence-transformers folder.",
            config_name="export",
            uses_trainer=False,
            has_demo=False,
        ),
    )
}
