"""The part of the data module that holds the open data and plans the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.plan_checks import PlanError, TooSmallError
from llm_embedder_data.datamodule.configured_module import ConfiguredDataModule
from llm_embedder_data.datamodule.open_data.open_data import OpenData
from llm_embedder_data.datamodule.ranks import Ranks
from llm_embedder_data.datamodule.resume.run_fingerprint import RunFingerprint
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.rows.train_set import TrainSet


class PlannedDataModule(ConfiguredDataModule):
    """Holds the open data, the plan of each epoch, and the run fingerprint.

    Args:
        settings: the arguments of the constructor, as the user passed them.
    """

    def __init__(self, settings: DataSettings) -> None:
        super().__init__(settings)
        self._data = OpenData(settings)

    def train_sets(self) -> dict[str, TrainSet]:
        """Return the training rows and their statistics, by dataset. Needs :meth:`setup`."""
        return self._data.train_sets()

    def plan(
        self,
        epoch: int = 0,
        num_replicas: int | None = None,
        *,
        batch_size: Mapping[str, int] | None = None,
    ) -> EpochPlan:
        """Return the global batches of an epoch, on any number of ranks. Needs :meth:`setup`.

        Its rows are positions among a dataset's kept rows: ``train_sets()[name].kept[rows]`` are
        the row numbers in the dataset.

        Args:
            epoch: zero-based.
            num_replicas: number of data-parallel ranks; None takes this run's.
            batch_size: queries per rank and step, by dataset; None takes this run's.
        """
        if batch_size is None:
            batch_size = self._batch_sizes()
        return self._data.plan(batch_size, epoch, num_replicas or self._ranks.num_replicas)

    def fingerprint(self, world_size: int | None = None) -> RunFingerprint:
        """Return the run fingerprint, which a checkpoint stores. Needs :meth:`setup`.

        The fingerprint holds everything that training batches depend on.

        Args:
            world_size: number of data-parallel ranks to plan for; None takes this run's.
        """
        return self._fingerprint(self.plan(num_replicas=world_size))

    # -- parts ---------------------------------------------------------------------------------

    @property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.trainer)

    def _batch_sizes(self) -> dict[str, int]:
        """Return the queries per rank and step, by dataset."""
        return {
            name: train_set.batch_size or self.batch_size
            for name, train_set in self.train_sets().items()
        }

    def _plan_if_any(self, num_replicas: int | None = None) -> tuple[EpochPlan | None, str | None]:
        """Return the plan of epoch 0, and the reason why a run would be refused, or None.

        A run is refused if a dataset is smaller than a global batch and ``small_datasets`` is
        ``error``. The plan is then that of the other datasets. It is None if there are no others,
        or if no plan can be made with these settings.

        Args:
            num_replicas: number of data-parallel ranks; None takes this run's.
        """
        try:
            return self.plan(num_replicas=num_replicas), None
        except TooSmallError as error:
            refused = str(error)
        except PlanError as error:
            return None, str(error)
        ranks = num_replicas or self._ranks.num_replicas
        try:
            return self._data.plan(self._batch_sizes(), 0, ranks, small_datasets="drop"), refused
        except TooSmallError:
            return None, refused
        except PlanError as error:
            return None, f"{refused}\n{error}"

    def _first_plan(self, stage: str | None) -> EpochPlan | None:
        """Return the plan of epoch 0; None without training data.

        If a dataset is too small for a global batch, the stage ``fit`` raises an error at once.
        Other stages do not, so that :meth:`setup` without a stage can open all data first.
        """
        if not self._data.train:
            return None
        return self.plan() if stage == "fit" else self._plan_if_any()[0]

    def _fingerprint(self, plan: EpochPlan) -> RunFingerprint:
        train_sets = self.train_sets().values()
        instructions = {
            train_set.task
            if train_set.task_description is None
            else f"{train_set.task} ({train_set.name})": self._builder.instruction_of(train_set)
            for train_set in train_sets
        }
        return RunFingerprint.of(
            train_sets, plan, self._settings, instructions, self._tokenizer_fingerprint
        )

    def _values_of_all_ranks(self, stage: str | None, num_replicas: int) -> dict[str, Any]:
        """Return the values that ranks must agree on, by the name of what they are.

        The costly ones are left out if there is only one rank.

        Raises:
            ConfigError: the plan cannot be made, or eval sets and corpora do not match.
        """
        plan = self._first_plan(stage)
        values: dict[str, Any] = {}
        if num_replicas > 1:
            values |= self._tokenizer_fingerprint.as_dict()
        if num_replicas > 1 and plan is not None:
            values |= self._fingerprint(plan).across_ranks()
        values["eval_batch_size"] = self.eval_batch_size
        return values | self._data.evaluation_fingerprint(self._builder)
