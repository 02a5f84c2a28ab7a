"""RefreshNegatives: mines negatives again during training, with the model that is being trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from llm_embedder_data.core.errors import ConfigError, did_you_mean
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.core.file_names import file_names
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.mining.minable_passages import MinablePassages
from llm_embedder_data.mining.mining import Mined, mine, write_mined
from llm_embedder_data.mining.mining_data import MinedQueries, MiningData
from llm_embedder_data.mining.retrievers import DenseRetriever
from llm_embedder_data.mining.store_filling import Share
from llm_embedder_data.mining.text_embedder import Precision, TextEmbedder
from llm_embedder_data.rows.settings.cache_folder import cache_folder


class RefreshNegatives(Callback):
    """Mines negatives at the beginning of every ``every_n_epochs``-th epoch except the first epoch.

    The model that is being trained embeds queries and passages; all ranks share the work. The
    negatives of each source are written to a file, and the data module uses this file instead of
    the earlier file. Limits such as ``relative_margin`` then apply to the new scores. Before the
    first mining, limits have no effect on rows without negatives, and they need scores for the
    negatives of other rows, such as the scores that ``mine`` writes. Mining does not change which
    rows are trained on. So to train on pairs without negatives, set ``on_no_negatives=keep``.

    Mining uses no random numbers, and a checkpoint contains the names of the files. So a resumed
    run has the same batches as a run that was never stopped, as long as its weights are the same:
    with dropout they are not, because Lightning does not restore PyTorch's random state. The files
    are not deleted.

    Args:
        every_n_epochs: epochs from one mining to the next.
        folder: the folder for the files, which all ranks must see; None for ``negatives`` in the
            trainer's ``default_root_dir``.
        depth: number of negatives per query.
        datasets: names of the sources to mine for; None for all.
        exclude_answers: whether passages that contain an answer to the query are left out.
        precision: precision in which embeddings are computed.
        batch_tokens: limit of a batch in tokens, padding included; None: 1,024 on a CPU, else
            32,768.

    Raises:
        ConfigError: ``every_n_epochs`` or ``depth`` is not a whole number of at least 1.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        *,
        folder: str | Path | None = None,
        depth: int = 50,
        datasets: Sequence[str] | None = None,
        exclude_answers: bool = True,
        precision: Precision = "32-true",
        batch_tokens: int | None = None,
    ) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("depth", depth)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}={value!r}: expected a whole number of at least 1")
        self.every_n_epochs = every_n_epochs
        self.depth = depth
        self._folder = None if folder is None else Path(folder)
        self._datasets = None if datasets is None else list(datasets)
        self._exclude_answers = exclude_answers
        self._precision: Precision = precision
        self._batch_tokens = batch_tokens
        self._mined_in = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the data module can exchange negatives.

        Raises:
            ConfigError: the data module is not a RetrievalDataModule.
        """
        if stage != "fit":
            return
        self._mined_in = 0  # forget an earlier fit; the state of a checkpoint is loaded later
        if not isinstance(_datamodule(trainer), RetrievalDataModule):
            raise ConfigError(
                "RefreshNegatives exchanges the negatives of a RetrievalDataModule (give one to "
                "trainer.fit as datamodule=)"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch in which negatives were last mined."""
        return {"mined_in": self._mined_in}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epoch in which negatives were last mined."""
        self._mined_in = state_dict["mined_in"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mine if the fit resumes at the beginning of an epoch in which mining is due.

        If a fit was stopped after the last step of an epoch, Lightning 2.6.6 does not call
        ``on_train_epoch_start`` for the next epoch when the fit resumes.

        Raises:
            ConfigError: a name in ``datasets`` is unknown, or two sources would have the same file.
        """
        state = _datamodule(trainer).state_dict()
        self._files_of(_datamodule(trainer), state["epoch"])  # raise errors before mining
        if state["step"] == 0:
            self._mine_if_due(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mine if mining is due in this epoch."""
        self._mine_if_due(trainer, pl_module)

    def _mine_if_due(self, trainer: Trainer, pl_module: LightningModule) -> None:
        datamodule = _datamodule(trainer)
        # Lightning miscounts epochs in some resumed fits; the data module does not.
        epoch = datamodule.state_dict()["epoch"]
        if epoch in (0, self._mined_in) or epoch % self.every_n_epochs:
            return
        folder = self._folder or Path(trainer.default_root_dir) / "negatives"
        folder = trainer.strategy.broadcast(folder.absolute())
        names = self._files_of(datamodule, epoch)
        by_source: dict[str, list[Mined]] = {}
        train_sets = datamodule.train_sets()
        work = folder / f".epoch-{epoch}"
        for name, data in datamodule.data_to_mine(with_answers=self._exclude_answers).items():
            source = train_sets[name].source
            if source is None or source.name not in names:
                continue
            mined = mine(
                data,
                lambda of, passages, queries: self._retriever(
                    pl_module, datamodule, of, passages, queries, work / "store"
                ),
                work / "blocks",
                depth=self.depth,
                share=Share(trainer.global_rank, trainer.world_size),
            )
            by_source.setdefault(source.name, []).append(mined)
            trainer.strategy.barrier("RefreshNegatives")
        files = {name: folder / names[name] for name in by_source}
        if trainer.is_global_zero:
            for name, mined_sets in by_source.items():
                with writing(files[name], "folder of RefreshNegatives"):
                    write_mined(files[name], mined_sets, cache_folder(datamodule.cache_dir))
            shutil.rmtree(work, ignore_errors=True)
        trainer.strategy.barrier("RefreshNegatives")
        datamodule.exchange_negatives(files)
        # Not before, so that a run resumed from an exception while mining mines again.
        self._mined_in = epoch
        for name, path in files.items():
            rank_zero_info(f"epoch {epoch}: negatives of {one_line(name)} mined anew: {path}")
            for mined in by_source[name]:
                counts = [f"{n:,} {what}" for what, n in mined.counts().items() if n]
                rank_zero_info(f"{one_line(mined.name)}: {'; '.join(counts)}")

    def _files_of(self, datamodule: RetrievalDataModule, epoch: int) -> dict[str, str]:
        """Return the name of the file of each source that is mined for."""
        sources = [found.source for found in datamodule.train_sets().values()]
        known = list(dict.fromkeys(source.name for source in sources if source is not None))
        for name in self._datasets or ():
            if name not in known:
                listed = ", ".join(map(one_line, known))
                raise ConfigError(
                    f"RefreshNegatives, datasets: there is no source {name!r}, expected one of "
                    f"{listed}{did_you_mean(name, known)}"
                )
        chosen = known if self._datasets is None else list(dict.fromkeys(self._datasets))
        return file_names(chosen, f"-epoch-{epoch}.tsv", "RefreshNegatives")

    def _retriever(
        self,
        encoder: Any,
        datamodule: RetrievalDataModule,
        data: MiningData,
        passages: MinablePassages,
        queries: MinedQueries,
        store: Path,
    ) -> DenseRetriever:
        def embedder(prompt: str, max_length: int) -> TextEmbedder:
            return TextEmbedder(
                encoder,
                datamodule.tokenizer,
                prompt=prompt,
                max_length=max_length,
                batch_tokens=self._batch_tokens,
                precision=self._precision,
            )

        return DenseRetriever(
            passages,
            queries.texts,
            embedder(data.key_prompt, data.key_max_length),
            embedder(data.query_prompt, data.query_max_length),
            store,
        )


def _datamodule(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]
