"""Running a verb as a Hydra application: a single job, or the jobs of a --multirun."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from llm_embedder_data.cli.command_line import CommandLine
from llm_embedder_data.cli.early_checks import check_settings, expand_home
from llm_embedder_data.cli.hydra_errors import HydraErrorHandling
from llm_embedder_data.cli.refusals import is_refusal, message
from llm_embedder_data.cli.run_folder import delete_run_folder, is_new_run_folder
from llm_embedder_data.cli.verbs import Verb
from llm_embedder_data.config.composing import CONF_MODULE, hydra_base
from llm_embedder_data.core.errors import ConfigError


def run_jobs(verb: Verb, line: CommandLine, extra: Sequence[str]) -> None:
    """Run the jobs of a command, as ``hydra.main`` does.

    Hydra's callbacks, launchers and sweepers get the error that a job raises, as in any Hydra
    application.

    Args:
        verb: the verb to run.
        line: the command line.
        extra: overrides that are added to the user's.

    Raises:
        ConfigError: the run's folder cannot be made.
        SystemExit: some jobs of a --multirun were refused; each has printed its error.
        Exception: the error of a job.
    """
    jobs = _Jobs(verb, sys.argv[0], line.is_multirun)

    def task(cfg: DictConfig) -> Any:
        return jobs.run(cfg)

    # Hydra names a job and its log file after the module of the function.
    task.__module__ = "llm_embedder_data.cli.main"
    application = hydra.main(
        config_path=f"pkg://{CONF_MODULE}", config_name=verb.config_name, **hydra_base()
    )(task)
    sys.argv = [sys.argv[0], *line.flags, *line.overrides, *extra]
    try:
        with jobs.hydra_errors:
            application()
    except Exception as error:
        jobs.finish(error)
        raise


class _Jobs:
    """Runs the jobs of a command, and records which of them failed.

    Args:
        verb: the verb that each job runs.
        program: the first word of the command line.
        is_multirun: whether there may be several jobs.
    """

    def __init__(self, verb: Verb, program: str, is_multirun: bool) -> None:
        self.hydra_errors = HydraErrorHandling()
        self._verb = verb
        self._program = program
        self._is_multirun = is_multirun
        self._has_begun = False
        self._failed: list[tuple[int, Exception]] = []  # (job number, error), in a --multirun
        self._sweep_folders: set[Path] = set()  # --multirun folders that had refused jobs

    def run(self, cfg: DictConfig) -> Any:
        """Run the verb on the configuration of a job."""
        self._has_begun = True
        job = HydraConfig.get()
        # Lightning starts other ranks with this command line: the verb and this job's overrides.
        sys.argv = [self._program, self._verb.name, *_overrides_of(job)]
        with read_write(cast("DictConfig", job)):
            job.run.dir = job.runtime.output_dir
        folder, output_subdir = Path(job.runtime.output_dir), job.output_subdir
        is_new = output_subdir is not None and is_new_run_folder(folder, output_subdir)
        with self.hydra_errors.inside_job():
            try:
                _quieten_libraries()
                expand_home(cfg)
                check_settings(cfg, self._verb)
                return self._verb.load()(cfg)
            except Exception as error:
                # An error with a note was raised after training steps: keep the checkpoints.
                if is_refusal(error) and is_new and not getattr(error, "__notes__", ()):
                    self._delete_folder(folder, job)
                if self._is_multirun:
                    self._record_failure(error, job)
                raise
            finally:
                _end_wandb_run()
                _leave_process_group()

    def finish(self, error: Exception) -> None:
        """Clean up after a failed command; raise another error if that is clearer."""
        # Hydra's error about a missing configuration is an OSError too.
        if isinstance(error, OSError) and not is_refusal(error) and not self._has_begun:
            raise ConfigError(
                f"the run's folder cannot be made: {error} (give another hydra.run.dir, or for "
                "--multirun hydra.sweep.dir)"
            ) from error
        for folder in self._sweep_folders:
            # If every job was refused, only Hydra's file is left.
            if [path.name for path in folder.glob("*")] == ["multirun.yaml"]:
                delete_run_folder(folder, Path.cwd())
        if is_refusal(error) and any(error is failure for _, failure in self._failed):
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                return
            numbers = ", ".join(str(number) for number, _ in self._failed)
            sys.exit(f"llm-embedder-data {self._verb.name}: failed: job {numbers}")

    def _delete_folder(self, folder: Path, job: Any) -> None:
        delete_run_folder(folder, Path(job.runtime.cwd))
        if self._is_multirun:
            self._sweep_folders.add(Path(job.runtime.cwd) / job.sweep.dir)

    def _record_failure(self, error: Exception, job: Any) -> None:
        number = int(job.job.num)
        self._failed.append((number, error))
        if is_refusal(error):
            prefix = f"job {number} ({', '.join(_overrides_of(job))}): "
            sys.stderr.write(message(self._verb.name, error, job=prefix) + "\n")


def _overrides_of(job: Any) -> list[str]:
    """Return a job's overrides, resolved so that all ranks have the same values, if they can be."""
    try:
        return list(job.overrides.task)
    except OmegaConfBaseException:
        return cast("list[str]", OmegaConf.to_container(job.overrides.task, resolve=False))


def _end_wandb_run() -> None:
    """End the job's run of Weights & Biases: the next job's logger would write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish(exit_code=int(sys.exc_info()[0] is not None))


def _leave_process_group() -> None:
    """Destroy a job's process group, so that the next job of a --multirun can create another.

    Under torchrun the group belongs to the whole command, so it stays.
    """
    if "torch" not in sys.modules:
        return
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and "TORCHELASTIC_RUN_ID" not in os.environ:
        dist.destroy_process_group()
        # Lightning sets these for the ranks that it starts, and would reuse them in the next job.
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


def _quieten_libraries() -> None:
    """Keep messages of other libraries that do not concern the user off the console.

    Lightning's tips, transformers' progress bar and the details of S3's clients are silenced.
    Lightning (2.6) prints its messages to the console itself, so Hydra's console handler skips
    them. sentence-transformers (6.2) logs each step when it loads an exported folder. Hydra's log
    file has all messages that are logged.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    for client in ("aiobotocore", "botocore"):
        logging.getLogger(client).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_not_tip)
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(_is_for_the_console)


def _is_not_tip(record: logging.LogRecord) -> bool:
    return "Tip: " not in record.getMessage()


def _is_for_the_console(record: logging.LogRecord) -> bool:
    is_step = record.name.startswith("sentence_transformers.") and record.levelno < logging.WARNING
    return not is_step and not record.name.startswith("lightning.")
