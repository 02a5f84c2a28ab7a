"""``prepare``: read all data, write the caches, and report what is wrong with the data."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from llm_embedder_data.batches.plan.plan_checks import PlanError
from llm_embedder_data.cli.output_files import (
    check_output_file,
    check_whole_number,
    output_folder,
    write_json,
    write_text,
)
from llm_embedder_data.cli.reading_progress import reading_progress
from llm_embedder_data.cli.rejected_file import check_rejected_file, write_rejected_file
from llm_embedder_data.cli.run_objects import build_retrieval_data
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.damaged_files import damaged_files
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.file_errors import writing
from llm_embedder_data.inspection.doctor.near_duplicates.near_checks import check_near_duplicates
from llm_embedder_data.inspection.doctor.results.diagnosis import Diagnosis
from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page
from llm_embedder_data.inspection.doctor.results.gates import check_gates, exceeded
from llm_embedder_data.rows.settings.cache_folder import cache_folder


def prepare(cfg: DictConfig) -> None:
    """Read and check all data, write the caches, and show the diagnosis.

    Raises:
        ConfigError: a check exceeds its limit in ``fail_on``, or a setting cannot be used.
        DataError: the data cannot be read.
    """
    near_duplicates = check_near_duplicates(cfg.near_duplicates)
    fail_on = OmegaConf.to_container(cfg.fail_on) if OmegaConf.is_config(cfg.fail_on) else None
    if cfg.fail_on is not None and fail_on is None:
        raise ConfigError(
            f"fail_on={cfg.fail_on!r}: expected a mapping such as {{contamination: 0}}, or null"
        )
    limits = check_gates(fail_on, near_duplicates)
    _warn_of_idle_gates(limits, cfg)
    check_whole_number("world_size", cfg.world_size, 1)
    for name in ("json", "html"):
        check_output_file(name, cfg[name])
    check_rejected_file(cfg.rejected)
    if cfg.fix is not None:
        output_folder("fix", cfg.fix, "the cleaned files")
    datamodule = build_retrieval_data(cfg)
    _remove_damaged_caches(cache_folder(datamodule.cache_dir))
    began = time.perf_counter()
    with reading_progress():
        datamodule.prepare_data()
    seconds = time.perf_counter() - began
    with suppress(PlanError):  # the diagnosis reports this error
        datamodule.setup()
    diagnosis = datamodule.diagnose(
        cfg.world_size,
        fix=cfg.fix,
        near_duplicates=near_duplicates,
        seconds_to_prepare=seconds,
        show_progress=True,
    )
    show(str(diagnosis))
    write_rejected_file(cfg.rejected, cfg.json or cfg.html, datamodule.rejected_rows())
    if cfg.json:
        write_json("json", cfg.json, diagnosis)
    if cfg.html:
        write_text("html", cfg.html, diagnosis_page(diagnosis))
    failed = exceeded(limits, diagnosis["datasets"])
    if _wants_annotations(cfg.annotations):
        sys.stdout.write("".join(_annotations(diagnosis, failed)))
    if failed:
        raise ConfigError("the data exceeds the limits of fail_on:\n" + "\n".join(failed.values()))


def _warn_of_idle_gates(limits: Container[str], cfg: DictConfig) -> None:
    """Warn of limits of ``fail_on`` that no data can exceed, as there are no eval queries."""
    if cfg.data.get("eval_data") is not None:
        return
    for check in ("contamination", "near_contamination"):
        if check in limits:
            warnings.warn(
                f"fail_on.{check} can find nothing: data.eval_data is null, so training rows are "
                "compared with no eval query (name the eval sets)",
                stacklevel=1,
            )


def _remove_damaged_caches(folder: Path) -> None:
    """Read all cache files in full, and delete damaged files, so that they are made again."""
    for path in damaged_files(folder):
        show(f"damaged cache, made again: {path}")
        with writing(path, "data.cache_dir"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _wants_annotations(setting: Any) -> bool:
    if setting == "auto":
        return os.environ.get("GITHUB_ACTIONS") == "true"
    if isinstance(setting, bool):
        return setting
    raise ConfigError(f"annotations={setting!r}: expected true, false or auto")


def _annotations(diagnosis: Diagnosis, failed: Container[tuple[str, str]]) -> list[str]:
    """Return one line for each example, in the syntax of GitHub's annotations.

    An example is an error if its dataset exceeds the limit of its check, else a warning.

    Args:
        diagnosis: what was found.
        failed: (dataset, check) of the limits that are exceeded.
    """
    lines = []
    for name, check, found in diagnosis.findings():
        level = "error" if (name, check) in failed else "warning"
        for example in found["examples"]:
            line = "" if example["line"] is None else f",line={example['line']}"
            text = f"{name}: {check}: {example['text']}"
            if match := example.get("match"):
                text += f" (like {match['file']}:{match['line']}: {match['text']})"
            text = text.replace("%", "%25").replace("\n", "%0A")
            lines.append(f"::{level} file={example['file']}{line}::{text}\n")
    return lines
