"""The part of the data module that answers questions about its data: reports, views, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_embedder_data.batches.plan.epoch_plan import (
    EpochPlan,
)
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.open_data.data_to_mine import data_to_mine
from llm_embedder_data.datamodule.open_data.texts_to_embed import TextKind, texts_to_embed
from llm_embedder_data.datamodule.planned_module import PlannedDataModule
from llm_embedder_data.datamodule.settings.hparams import recorded
from llm_embedder_data.datamodule.settings.settings import (
    DEFAULTS,
)
from llm_embedder_data.inspection.batch_view.making import batches_of_step
from llm_embedder_data.inspection.batch_view.shown_batch import ShownBatch, show_batches
from llm_embedder_data.inspection.descriptions import datasets_in_lines, in_a_line, sources_in_lines
from llm_embedder_data.inspection.doctor.diagnose import diagnose
from llm_embedder_data.inspection.doctor.results.diagnosis import Diagnosis
from llm_embedder_data.inspection.occurrences import Occurrences, occurrences
from llm_embedder_data.inspection.pages.plot_data import plot_data
from llm_embedder_data.inspection.rejected_rows import RejectedRows, n_rejected, rejected_rows
from llm_embedder_data.inspection.report import Report
from llm_embedder_data.mining.embeddable_texts import PromptedTexts
from llm_embedder_data.mining.mining_data import MiningData
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet
from llm_embedder_data.rows.train_set import TrainSet


class InspectableDataModule(PlannedDataModule):
    """Answers questions about the open data and their plan; training is not affected."""

    def __repr__(self) -> str:
        return in_a_line(type(self).__name__, recorded(self._settings), DEFAULTS)

    def __str__(self) -> str:
        """Show the settings, and the datasets with their sizes once they are set up."""
        data = self._data
        lines = sources_in_lines(recorded(self._settings))
        if data.train is not None or data.evals is not None:
            plan: EpochPlan | str | None = None
            if data.train:
                try:
                    plan = self.plan()
                except ConfigError as error:
                    plan = str(error).splitlines()[0]
            lines = datasets_in_lines(
                (data.train or {}).values(),
                (data.evals or {}).values(),
                (data.corpora or {}).values(),
                plan,
                self.eval_batch_size,
            )
        return "\n".join([repr(self), *(f"  {line}" for line in lines)])

    def report(self) -> Report:
        """Return what was read, kept and dropped, as a dict that prints as a table.

        Needs :meth:`setup`.

        Raises:
            ConfigError: no data are open.
        """
        return self._data.report(self._builder, self.plan() if self._data.train else None)

    def rejected_rows(self) -> dict[str, RejectedRows]:
        """Return the rows that were rejected for what they are, by dataset. Needs :meth:`setup`.

        Bad rows, with ``on_bad_row="skip"``, and rows from which a format makes none: each with
        ``file``, ``row`` (from 0), ``line`` (from 1), ``reason``, ``field`` and the beginning of
        its content, ``value``. Of a dataset these are the first thousand, and ``n_rows`` counts
        all. The names are those of :meth:`diagnose`: a training set's, ``eval/NAME`` and
        ``corpus/NAME``. A dataset without such rows is left out.

        Raises:
            ConfigError: no data are open.
        """
        data = self._data
        data.require_open()
        datasets: dict[str, TrainSet | EvalSet | Corpus] = {
            **(data.train or {}),
            **{f"eval/{name}": found for name, found in (data.evals or {}).items()},
            **{f"corpus/{name}": found for name, found in (data.corpora or {}).items()},
        }
        return {name: rejected_rows(found) for name, found in datasets.items() if n_rejected(found)}

    def diagnose(
        self,
        world_size: int | None = None,
        *,
        fix: str | Path | None = None,
        near_duplicates: float | None = None,
        seconds_to_prepare: float | None = None,
        show_progress: bool = False,
    ) -> Diagnosis:
        """Check all data, as ``llm-embedder-data prepare`` does. Needs :meth:`setup`.

        Args:
            world_size: number of data-parallel ranks to plan for; None takes this run's.
            fix: a folder to write cleaned files to.
            near_duplicates: Jaccard similarity above which texts count as near duplicates, 0.7 to
                1; None turns the search off. Needs the extra ``near-duplicates``.
            seconds_to_prepare: how long :meth:`prepare_data` took, for the report.
            show_progress: whether to show a progress bar.

        Returns:
            A dict that prints as a table. A dataset smaller than a global batch is one of its
            findings; ``["refused"]`` says why training would be refused, or is None.

        Raises:
            ConfigError: ``near_duplicates`` is out of range, or its package is missing.
        """
        plan, refused = self._plan_if_any(world_size) if self._data.train else (None, None)
        return diagnose(
            self._data.train or {},
            self._data.evals or {},
            self._data.corpora or {},
            plan,
            refused=refused,
            batch_size=self._batch_sizes() if self._data.train else {},
            num_replicas=world_size or self._ranks.num_replicas,
            small_datasets=self._settings.small_datasets,
            instruction_of=self._builder.instruction_of,
            collator=self._collator,
            groups=self._data.groups(self._builder) if self._data.train else None,
            group_size=self._settings.train_group_size,
            answers_of=self._builder.answers_of,
            answers_by_record=self._builder.answers_by_record,
            cache_files=self._data.cache_files(self._builder),
            seconds_to_prepare=seconds_to_prepare,
            fix=fix,
            near_duplicates=near_duplicates,
            show_progress=show_progress,
        )

    def show(
        self,
        step: int = 0,
        epoch: int = 0,
        rank: int | None = 0,
        *,
        world_size: int | None = None,
        plan: EpochPlan | None = None,
        notes: Sequence[str] = (),
    ) -> ShownBatch:
        """Return a training batch, decoded; it prints as text, and as HTML in a notebook.

        The batch is made by the same code as in training. Needs :meth:`setup`.

        Args:
            step: step of the epoch, zero-based.
            epoch: zero-based.
            rank: the rank whose batch to show; None shows the batches of all ranks.
            world_size: number of data-parallel ranks to plan for; None takes this run's.
            plan: the plan whose step to show; None makes it from ``epoch`` and ``world_size``.
            notes: lines to show above the batch.

        Raises:
            ConfigError: there is no such step or rank.
        """
        plan = self.plan(epoch, world_size) if plan is None else plan
        made = batches_of_step(plan, self._data.groups(self._builder), self._collator, step, rank)
        return show_batches(
            made,
            self.train_sets(),
            self._data.corpora or {},
            self._collator,
            is_one_rank=rank is not None,
            notes=notes,
        )

    def texts_to_embed(self, kind: TextKind) -> dict[str, PromptedTexts]:
        """Return the texts to embed into embedding stores, by name of the dataset.

        Needs :meth:`setup`.

        Args:
            kind: ``corpus`` for the passages of the corpora; ``eval_data`` or ``train_data`` for
                the queries of these rows.
        """
        return texts_to_embed(self._data, self._builder, self._settings, kind)

    def data_to_mine(self, *, with_answers: bool = True) -> dict[str, MiningData]:
        """Return the input for mining negatives, by dataset. Needs :meth:`setup`.

        Args:
            with_answers: whether to read the answers of the rows, so that no passage that contains
                an answer becomes a negative.
        """
        return {
            name: data_to_mine(train_set, self._builder, self._settings, with_answers=with_answers)
            for name, train_set in self.train_sets().items()
        }

    def occurrences(
        self,
        *,
        text: str | None = None,
        id: str | int | None = None,
        epochs: int = 1,
        world_size: int | None = None,
    ) -> Occurrences:
        """Return every step, rank and role in which a text occurs. Needs :meth:`setup`.

        Args:
            text: a query or a candidate, exactly as the data has it, without instruction.
            id: a query id, in place of ``text``.
            epochs: how many epochs to search, from epoch 0 on.
            world_size: number of data-parallel ranks to plan for; None takes this run's.

        Raises:
            ConfigError: no row has the text or the id.
        """
        return occurrences(
            self.plan(num_replicas=world_size),
            self._data.groups(self._builder),
            self.train_sets(),
            text=text,
            id=id,
            epochs=epochs,
        )

    def plot_data(
        self, epoch: int = 0, *, world_size: int | None = None, epochs: int = 8
    ) -> dict[str, Any]:
        """Return the numbers behind the plots of ``inspect``. Needs :meth:`setup`.

        Args:
            epoch: the epoch whose batches are measured.
            world_size: number of data-parallel ranks to plan for; None takes this run's.
            epochs: number of epochs over which coverage is computed, from epoch 0 on.
        """
        plan = self.plan(epoch, world_size)
        groups = self._data.groups(self._builder)
        return plot_data(
            plan,
            groups,
            self._collator,
            self.train_sets(),
            instruction_of=self._builder.instruction_of,
            epochs=epochs,
        )
