"""The folder of a run: the same for all ranks, and deleted if the run is refused."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def run_folder_for_all_ranks(overrides: Sequence[str]) -> list[str]:
    """Return the override that gives all ranks of torchrun the same run folder.

    The default folder is named after the time, and ranks compose their configurations at slightly
    different times. So the first rank that calls this puts its time into torchrun's store, and all
    ranks read the time from there.

    Returns:
        The override; empty if the user names a folder, or if torchrun did not start this process.
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
    """Return whether a run's folder contains only the files that Hydra has just written.

    Args:
        folder: the run's folder.
        output_subdir: name of its subfolder to which Hydra writes the configuration.
    """
    with suppress(OSError):
        return all(path.name == output_subdir or path.suffix == ".log" for path in folder.iterdir())
    return False


def delete_run_folder(folder: Path, root: Path) -> None:
    """Delete a run's folder, and its parent folders that are then empty.

    Only rank 0 deletes. The root and its parents are never deleted.

    Args:
        folder: the folder of a run that was refused.
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
