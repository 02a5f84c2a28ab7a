"""Whether ``ckpt_path`` names a checkpoint that a run can begin with, before anything is loaded."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from llm_embedder_data.core.errors import ConfigError

# What Lightning finds itself. It takes "last" of a folder without checkpoints for a fresh start,
# which is what a job that is queued again wants.
_NAMES = {"fit": ("last", "hpc"), "validate": ("hpc",)}

# Files of checkpoints that are folders: of FSDP, of torch.distributed.checkpoint, of DeepSpeed.
_IN_SHARDS = ("meta.pt", ".metadata", "latest", "checkpoint")

_REMEDY = "ckpt_path names a file that a run wrote, such as outputs/.../checkpoints/last.ckpt"


def check_checkpoint_file(path: Any, verb: str) -> None:
    """Refuse a ``ckpt_path`` that can be no checkpoint, by its name and the form of its file.

    Args:
        path: as configured.
        verb: fit or validate.

    Raises:
        ConfigError: what is there in place of a checkpoint.
    """
    where = f"ckpt_path={path!r}"
    if path is None or path in _NAMES[verb]:
        return
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{where}: expected the path of a checkpoint, or null")
    if "://" in path or path.partition(":")[0] == "registry":
        return  # elsewhere than on this machine
    file = Path(path)
    if file.is_dir():
        if any((file / name).exists() for name in _IN_SHARDS):
            return
        inside = sorted(file.rglob("*.ckpt"))[:3]
        raise ConfigError(
            f"{where} is a folder, not a checkpoint ("
            + (f"in it there are {', '.join(map(str, inside))})" if inside else f"{_REMEDY})")
        )
    if not file.exists():
        raise ConfigError(f"{where}: there is no such file{_nearest(file)} ({_REMEDY})")
    if not _is_archive(file):
        raise ConfigError(
            f"{where} is no checkpoint: not an archive as torch.save writes it, or one cut off "
            f"({file.stat().st_size:,} bytes; {_REMEDY})"
        )


def check_checkpoint_content(path: Any, verb: str) -> Mapping[str, Any]:
    """Refuse a file that torch cannot read, or that is no checkpoint of a LightningModule.

    Its tensors are not loaded: only their shapes are read.

    Returns:
        ``{name: tensor}`` of the model, without values; empty where the file is not on this
        machine, or holds classes that only the model's own code knows.

    Raises:
        ConfigError: what the file is.
    """
    import torch

    if path is None or path in _NAMES.get(verb, ()) or "://" in path or not os.path.isfile(path):
        return {}
    where = f"ckpt_path={path!r}"
    try:
        content = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            return {}
        raise ConfigError(f"{where} cannot be read: {_first_line(error)} ({_REMEDY})") from error
    except Exception as error:
        raise ConfigError(f"{where} cannot be read: {_first_line(error)} ({_REMEDY})") from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ConfigError(
            f"{where} is no checkpoint of a run: it holds no 'state_dict' (weights alone are given "
            f"as a folder, encoder=...; {_REMEDY})"
        )
    if verb == "fit" and ("loops" not in content or "optimizer_states" not in content):
        raise ConfigError(
            f"{where} holds a model without the state of its run, so there is nothing to go on "
            "from (it was saved with save_weights_only; name another checkpoint)"
        )
    return cast(Mapping[str, Any], content["state_dict"])


def check_checkpoint_fits(path: Any, saved: Mapping[str, Any], model: Any) -> None:
    """Refuse a checkpoint of another model than the one that is to be loaded from it.

    Args:
        path: of the checkpoint.
        saved: what :func:`check_checkpoint_content` returned.
        model: a LightningModule. One that makes layers late, or changes what is loaded, is not
            compared.

    Raises:
        ConfigError: how many weights differ, and the first of them.
    """
    from lightning.pytorch.utilities.model_helpers import is_overridden

    changes = ("on_load_checkpoint", "configure_model", "load_state_dict", "state_dict")
    if not saved or not model.strict_loading or any(is_overridden(n, model) for n in changes):
        return
    have = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(getattr(value, "shape", ())) for name, value in saved.items()}
    other = [name for name in {**have, **found} if have.get(name) != found.get(name)]
    if other:
        first = other[0]
        raise ConfigError(
            f"ckpt_path={path!r} is of another model: {len(other)} of its weights differ, such as "
            f"{first!r} (in the file {found.get(first, 'none')}, in the model "
            f"{have.get(first, 'none')}; give the encoder and the model that it was made with)"
        )


def _is_archive(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _nearest(file: Path) -> str:
    names = [one.name for one in file.parent.glob("*.ckpt")] if file.parent.is_dir() else []
    near = get_close_matches(file.name, names, n=1, cutoff=0.3)
    return f"; did you mean {str(file.parent / near[0])!r}?" if near else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
