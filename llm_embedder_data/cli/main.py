"""The entry point of the console script: runs a verb, or answers ``--help`` and ``--version``.

Slow libraries are imported only when a verb will run, so that ``--help`` and the error about a
misspelt key appear in a fraction of a second.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm_embedder_data.cli.refusals import is_refusal, message
from llm_embedder_data.cli.verbs import VERBS, Verb
from llm_embedder_data.core.errors import did_you_mean

_PACKAGE = Path(__file__).parent.parent

# Flags with which Hydra prints something and runs no job.
_SHOWS_ONLY = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")

# Flags that choose another configuration than the verb's, which only Hydra can compose.
_OTHER_CONFIG = ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun")


def main() -> None:
    """Run the verb that ``sys.argv`` names.

    Raises:
        SystemExit: the verb, a setting or a file is refused; it has the message, which Python
            prints without a traceback.
    """
    if sys.__stderr__ is not None:
        # Print a traceback when reading a truncated memory-mapped file kills the process.
        faulthandler.enable(sys.__stderr__)
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(_usage() + "\n")
    elif name == "--version":
        sys.stdout.write(_version() + "\n")
    elif name not in VERBS:
        sys.exit(
            f"{name!r} is not a verb: expected one of {', '.join(VERBS)}{did_you_mean(name, VERBS)}"
        )
    else:
        warnings.formatwarning = _plain(warnings.formatwarning)
        try:
            _run(VERBS[name], arguments)
        except Exception as error:
            if not is_refusal(error) or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            sys.exit(message(name, error))


def _run(verb: Verb, arguments: Sequence[str]) -> None:
    from llm_embedder_data.cli.command_line import read_command_line
    from llm_embedder_data.cli.early_checks import (
        check_run_folder,
        check_settings,
        check_sweep,
        expand_home,
    )
    from llm_embedder_data.cli.hydra_jobs import run_jobs
    from llm_embedder_data.cli.key_checks import check_keys, compose
    from llm_embedder_data.cli.run_folder import run_folder_for_all_ranks

    line = read_command_line(arguments)
    if line.has("--version"):
        sys.stdout.write(_version() + "\n")
        return
    if not line.has("--hydra-help"):
        line = check_keys(line, verb.config_name)
    demo = _demo_if_no_data(line.overrides) if verb.has_demo else []
    folder = run_folder_for_all_ranks(line.overrides) if verb.uses_trainer else []
    extra = [*demo, *folder]
    if line.has("--help", "-h"):
        from llm_embedder_data.cli.key_help import help_page

        sys.stdout.write(help_page(verb, [*line.search_path, *line.overrides]))
        return
    if not line.has(*_SHOWS_ONLY):
        check_run_folder(line.overrides)
        if line.is_multirun:
            check_sweep(line.overrides)
        elif not line.has(*_OTHER_CONFIG):
            # Check values before Hydra makes a folder for the run, and before anything is loaded.
            overrides = [*line.search_path, *line.overrides, *extra]
            cfg = compose(overrides, verb.config_name)
            expand_home(cfg)
            check_settings(cfg, verb)
    run_jobs(verb, line, extra)


def _plain(formatted: Callable[..., str]) -> Callable[..., str]:
    """Return a ``warnings.formatwarning`` that prints this package's warnings as a plain sentence.

    It leaves out the file and the line of code, which tell a user nothing. Warnings of other
    packages are formatted by ``formatted``, as before.
    """

    def plain(
        message: Any, category: type[Warning], filename: str, *place: Any, **line: Any
    ) -> str:
        if category is UserWarning and Path(filename).is_relative_to(_PACKAGE):
            return f"WARNING: {message}\n"
        return formatted(message, category, filename, *place, **line)

    return plain


def _demo_if_no_data(overrides: Sequence[str]) -> list[str]:
    """Return the override that chooses the demo, which includes data, if no data is named."""
    data = ("data.train_data", "data.eval_data", "data.corpus")
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in ("data", *data, "experiment", "ckpt_path") or key.startswith(
            tuple(f"{name}." for name in data)
        ):
            return []
    return ["experiment=demo"]


def _usage() -> str:
    lines = ["llm-embedder-data VERB [KEY=VALUE ...]", ""]
    lines += [f"  {verb.name:10} {verb.summary}" for verb in VERBS.values()]
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
        return "llm-embedder-data (not installed: run from a folder)"


if __name__ == "__main__":
    main()
