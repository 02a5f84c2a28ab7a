"""The folder of a run: one folder for all ranks, and none left behind by a run that is refused."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def run_folder_for_all_ranks(overrides: Sequence[str]) -> list[str]:
    """Return the override that gives all ranks that torchrun started the same run folder.

    Each of them composes the configuration, and the default folder is named by the time. The first
    rank to get here puts its time into torchrun's store, and all ranks take it from there.

    Returns:
        No override if the user names a folder, or if torchrun did not start this process.
    """
    is_named = any(override.startswith("hydra.run.dir=") for override in overrides)
    if is_named or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return []
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    name = f"llm_embedder_data/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    moment = store.compare_set(name, "", time.strftime("%Y-%m-%d/%H-%M-%S")).decode()
    return [f"hydra.run.dir=outputs/{moment}"]


def is_new_run_folder(folder: Path, output_subdir: str) -> bool:
    """Return whether a run's folder holds nothing but what Hydra has just put there.

    Args:
        folder: of the run.
        output_subdir: name of the folder in it to which Hydra writes the configuration.
    """
    with suppress(OSError):
        return all(path.name == output_subdir or path.suffix == ".log" for path in folder.iterdir())
    return False


def delete_run_folder(folder: Path, root: Path) -> None:
    """Delete a run's folder, and the folders around it that are empty then.

    Only rank 0 deletes. The root itself and the folders around it are never deleted.

    Args:
        folder: of a run that was refused.
        root: the folder in which the command was started.
    """
    from lightning.pytorch.utilities import rank_zero_only

    folder, root = folder.resolve(), root.resolve()
    if getattr(rank_zero_only, "rank", 0) or folder == root or folder in root.parents:
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder:
            handler.close()
            logging.getLogger().removeHandler(handler)
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if root not in parent.parents:
            break
        with suppress(OSError):
            parent.rmdir()
