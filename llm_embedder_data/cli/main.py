"""``llm-embedder-data VERB [KEY=VALUE ...]``: the verbs, each a Hydra application on conf/."""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from llm_embedder_data.core.errors import ConfigError, did_you_mean

# Nothing that takes long is imported before it is known that something is to run: --help and a
# misspelt key are answered in a fraction of a second.
if TYPE_CHECKING:
    from omegaconf import DictConfig

    from llm_embedder_data.cli.command_line import CommandLine

# Each verb: what it does, and the file in conf/ that it is composed from.
VERBS: dict[str, tuple[str, str]] = {
    "fit": ("Train a model on train_data; measure it on eval_data before and after.", "config"),
    "validate": ("Measure a model on eval_data against the corpus.", "config"),
    "plan": (
        "Show the plan of a configuration on world_size ranks, and the rows of any of its steps.",
        "plan",
    ),
}


def main() -> None:
    """The console script."""
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a mapped file cut off kills without a word
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        sys.stdout.write(_usage() + "\n")
    elif verb == "--version":
        sys.stdout.write(_version() + "\n")
    elif verb not in VERBS:
        sys.exit(
            f"{verb!r} is no verb: expected one of {', '.join(VERBS)}{did_you_mean(verb, VERBS)}"
        )
    else:
        _give_up_on_errors(verb, lambda: _run(verb, arguments))


# ------------------------------------------------------------------------------------------------


def _run(verb: str, arguments: Sequence[str]) -> None:
    from llm_embedder_data.cli.command_line import compose, fit_to_config, read_command_line

    config_name = VERBS[verb][1]
    line = read_command_line(arguments)
    if line.has("--version"):
        sys.stdout.write(_version() + "\n")
        return
    if not line.has("--hydra-help"):
        line = fit_to_config(line, config_name)
    extra = [*_demo_unless_named(line.overrides), *_folder_of_ranks(line.overrides)]
    if line.has("--help", "-h"):
        from llm_embedder_data.cli.key_help import help_page

        overrides = [*line.search_path, *line.overrides]
        sys.stdout.write(help_page(verb, VERBS[verb][0], overrides, config_name))
        return
    if line.has("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"):
        _hydra(verb, line, extra)
        return
    if line.is_multirun:
        _refuse_one_file_for_all_jobs(line)
    elif not line.has("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun"):
        # Before Hydra makes a folder for the run, and before anything is loaded.
        _check(compose([*line.search_path, *line.overrides, *extra], config_name), verb)
    _hydra(verb, line, extra)


def _hydra(verb: str, line: CommandLine, extra: Sequence[str]) -> None:
    """Run the verb's jobs, as ``hydra.main`` does it; what one raises is raised here."""
    import hydra

    from llm_embedder_data.config.composing import CONF_MODULE, hydra_base

    program, edge = sys.argv[0], _HydrasEdge()
    failed: list[tuple[int, Exception]] = []
    sweep_folders: set[Path] = set()
    begun = False

    def task(cfg: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import read_write

        nonlocal begun
        begun = True
        # Lightning starts further ranks with this command line: the verb, and this one job's
        # overrides.
        job = HydraConfig.get()
        sys.argv = [program, verb, *job.overrides.task]
        with read_write(cast("DictConfig", job)):
            job.run.dir = job.runtime.output_dir
        folder = Path(job.runtime.output_dir)
        is_new = job.output_subdir is not None and _holds_only_hydras(folder, job.output_subdir)
        number = int(job.job.num) if line.is_multirun else 0
        with edge.inside_job():
            try:
                _quieten_libraries()
                _check(cfg, verb)
                return getattr(importlib.import_module("llm_embedder_data.cli.verbs"), verb)(cfg)
            except Exception as error:
                if _is_refusal(error) and is_new and not getattr(error, "__notes__", ()):
                    _delete_folder(folder, Path(job.runtime.cwd))
                    if line.is_multirun:
                        sweep_folders.add(Path(job.runtime.cwd) / job.sweep.dir)
                if line.is_multirun:
                    failed.append((number, error))
                    if _is_refusal(error):
                        job_named = f"job {number} ({', '.join(job.overrides.task)}): "
                        sys.stderr.write(_shown(verb, job_named, error) + "\n")
                raise
            finally:
                _leave_process_group()

    task.__module__ = __name__
    decorated = hydra.main(
        config_path=f"pkg://{CONF_MODULE}", config_name=VERBS[verb][1], **hydra_base()
    )(task)
    sys.argv = [program, *line.flags, *line.overrides, *extra]
    try:
        with edge:
            decorated()
    except Exception as error:
        if isinstance(error, OSError) and not begun:
            raise ConfigError(
                f"the run's folder cannot be made: {error} (give another hydra.run.dir, or for "
                "--multirun hydra.sweep.dir)"
            ) from error
        for (
            folder
        ) in sweep_folders:  # where every job was refused, Hydra's own file is all there is
            if [one.name for one in folder.glob("*")] == ["multirun.yaml"]:
                _delete_folder(folder, Path.cwd())
        if _is_refusal(error) and any(one is error for _, one in failed):
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            numbers = ", ".join(str(number) for number, _ in failed)
            sys.exit(f"llm-embedder-data {verb}: failed: job {numbers}")
        raise


class _HydrasEdge:
    """Lets what a job raises come out of ``hydra.main`` as it is.

    Hydra prints a traceback and ends the process itself, unless the variable HYDRA_FULL_ERROR says
    otherwise; and before that a line with the overrides of the job that failed. Inside the job both
    are as the user has them.
    """

    def __enter__(self) -> None:
        self._variable = os.environ.get("HYDRA_FULL_ERROR")
        self._stderr = sys.stderr
        self._arm()

    def __exit__(self, *_: object) -> None:
        self._disarm()

    @contextmanager
    def inside_job(self) -> Iterator[None]:
        self._disarm()
        try:
            yield
        finally:
            self._arm()

    def _arm(self) -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.stderr = cast(TextIO, _WithoutJobsLine(self._stderr))

    def _disarm(self) -> None:
        sys.stderr = self._stderr
        if self._variable is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = self._variable


class _WithoutJobsLine:
    """Standard error without Hydra's line about a job that failed, whose sentence comes itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if text.startswith("Error executing job with overrides: "):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _check(cfg: DictConfig, verb: str) -> None:
    """Refuse what would be refused later anyway, after minutes of loading."""
    from llm_embedder_data.cli.checkpoint_files import check_checkpoint_file
    from llm_embedder_data.cli.metrics_file import check_metrics_file

    _refuse_unknown_interpolations(cfg)
    if verb == "plan":
        return
    if type(cfg.seed) is not int or not 0 <= cfg.seed < 2**32:
        raise ConfigError(f"seed={cfg.seed!r}: expected a whole number from 0 to {2**32 - 1}")
    for name in ("callbacks", "logger"):
        nodes = cfg.get(name)
        if nodes is not None and not isinstance(nodes, Mapping):
            raise ConfigError(f"{name}={nodes}: expected a mapping {{name: {{_target_: ...}}}}")
        for key, node in (nodes or {}).items():
            if node is not None and not isinstance(node, Mapping):
                raise ConfigError(
                    f"{name}.{key}={node!r}: expected a mapping with a _target_ (~{name}.{key} "
                    "takes it out)"
                )
    check_checkpoint_file(cfg.ckpt_path, verb)
    check_metrics_file(cfg.metrics_file)


def _refuse_unknown_interpolations(cfg: DictConfig) -> None:
    """Refuse ``${key}`` of a key that is not there; what Hydra's own resolvers give is left."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError

    try:
        OmegaConf.to_container(cfg, resolve=True)
    except InterpolationKeyError as error:
        raise ConfigError(_said(error)) from error
    except InterpolationResolutionError:
        return  # such as ${hydra:...} outside a job


def _refuse_one_file_for_all_jobs(line: CommandLine) -> None:
    for one in line.overrides:
        key, _, value = one.lstrip("+").partition("=")
        if key == "metrics_file" and value != "null" and not any(c in value for c in "$,"):
            raise ConfigError(
                f"metrics_file={value}: every job of --multirun would replace the one before "
                "(give metrics_file='${output_dir}/metrics.json')"
            )


# -- errors at the edge of the process


def _give_up_on_errors(verb: str, run: Callable[[], None]) -> None:
    """Leave with the sentence of a refusal, or, where Hydra's variable asks, its traceback."""
    try:
        run()
    except Exception as error:
        if not _is_refusal(error) or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(_shown(verb, "", error))


def _shown(verb: str, where: str, error: BaseException) -> str:
    """A refusal's sentence; signs that would steer a terminal are spelt out."""
    notes = getattr(error, "__notes__", [])
    words = " ".join([str(error), *notes]) if _is_ours(error) else _said(error)
    sentence = f"llm-embedder-data {verb}: {where}{words}"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in sentence)


def _said(error: BaseException) -> str:
    from llm_embedder_data.cli.command_line import sentence

    return sentence(error)


def _is_ours(error: BaseException) -> bool:
    from llm_embedder_data.core.errors import DataError

    return isinstance(error, ConfigError | DataError)


def _is_refusal(error: BaseException) -> bool:
    """Whether an error says what is wrong with a setting or a file, so that no traceback helps."""
    if isinstance(error, ConfigError):
        return True
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    lightnings = any(one.__name__ == "MisconfigurationException" for one in type(error).__mro__)
    return (
        lightnings or isinstance(error, HydraException | OmegaConfBaseException) or _is_ours(error)
    )


# -- the folder of a run


def _holds_only_hydras(folder: Path, subdir: str) -> bool:
    """Whether a run's folder is new: it holds nothing but what Hydra has just put there."""
    with suppress(OSError):
        return all(one.name == subdir or one.suffix == ".log" for one in folder.iterdir())
    return False


def _delete_folder(folder: Path, above: Path) -> None:
    """Delete the folder of a run that was refused, and those around it that are empty then."""
    from lightning.pytorch.utilities import rank_zero_only

    folder, above = folder.resolve(), above.resolve()
    if getattr(rank_zero_only, "rank", 0) or folder == above or folder in above.parents:
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder:
            handler.close()
            logging.getLogger().removeHandler(handler)
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if above not in parent.parents:
            break
        with suppress(OSError):
            parent.rmdir()


# -- ranks


def _folder_of_ranks(overrides: Sequence[str]) -> list[str]:
    """Under torchrun, the run's folder by the moment at which its first rank got here, on all."""
    named = any(one.startswith("hydra.run.dir=") for one in overrides)
    if named or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return []
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"llm_embedder_data/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    moment = store.compare_set(key, "", time.strftime("%Y-%m-%d/%H-%M-%S")).decode()
    return [f"hydra.run.dir=outputs/{moment}"]


def _leave_process_group() -> None:
    """Forget the ranks of one job, so that the next one of a --multirun can start its own."""
    if "torch" not in sys.modules:
        return
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and "TORCHELASTIC_RUN_ID" not in os.environ:
        dist.destroy_process_group()
        for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


# -- words


def _demo_unless_named(overrides: Sequence[str]) -> list[str]:
    """Where the user names no data, the demo on the sample that ships with the package."""
    named = ("data", "data.train_data", "data.eval_data", "experiment", "ckpt_path")
    for one in overrides:
        key = one.lstrip("+~").partition("=")[0]
        if key in named or key.startswith(("data.train_data.", "data.eval_data.")):
            return []
    return ["experiment=demo"]


def _quieten_libraries() -> None:
    """Of Lightning 2.6 and transformers 5: advertisements, and a bar for loading a file."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: " not in record.getMessage()


def _usage() -> str:
    lines = ["llm-embedder-data VERB [KEY=VALUE ...]", ""]
    lines += [f"  {name:10} {summary}" for name, (summary, _) in VERBS.items()]
    lines += [
        "",
        "llm-embedder-data VERB --help shows every key and what it means; --version the version.",
        "Without data named, fit runs a demo.",
    ]
    return "\n".join(lines)


def _version() -> str:
    try:
        return f"llm-embedder-data {version('llm_embedder_data')}"
    except PackageNotFoundError:
        return "llm-embedder-data, of a folder that is not installed"


if __name__ == "__main__":
    main()
