"""Checks that ``ckpt_path`` names a checkpoint that a verb can load.

There are three checks, from fast to slow: of the file's name and type, of its content, and of its
weights against the model's.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from llm_embedder_data.core.errors import ConfigError

# Values of ckpt_path, by verb, for which Lightning looks up the file. If there is no checkpoint,
# ckpt_path=last starts a new run, so a queue can start and restart a job with the same command.
_LOOKED_UP = {"fit": ("last", "hpc"), "validate": ("hpc",)}

# A folder with any of these files is a sharded checkpoint of FSDP, torch.distributed.checkpoint or
# DeepSpeed.
_FILES_OF_SHARDED = ("meta.pt", ".metadata", "latest", "checkpoint")

# A model that overrides any of these may load other weights than it has when it is built.
_LOADING_HOOKS = ("on_load_checkpoint", "configure_model", "load_state_dict", "state_dict")

_REMEDY = "ckpt_path names a file that a run wrote, such as outputs/.../checkpoints/last.ckpt"


def check_checkpoint_file(path: Any, verb: str, setting: str = "ckpt_path") -> None:
    """Refuse a path that cannot be a checkpoint, by its name and file type.

    Args:
        path: the setting's value.
        verb: name of the verb that loads the checkpoint.
        setting: the key of the setting, for messages.

    Raises:
        ConfigError: there is no such file, or it is not a checkpoint. The message says what it is.
    """
    where, remedy = f"{setting}={path!r}", _REMEDY.replace("ckpt_path", setting)
    if path is None or path in _LOOKED_UP.get(verb, ()):
        return
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(f"{where}: expected the path of a checkpoint, or null")
    if "://" in path or path.partition(":")[0] == "registry":
        return  # on another machine, or in a model registry
    file = Path(path)
    if os.path.isdir(file):
        if any((file / name).exists() for name in _FILES_OF_SHARDED):
            return
        inside = sorted(file.rglob("*.ckpt"))[:3]
        raise ConfigError(
            f"{where} is a folder, not a checkpoint ("
            + (f"in it there are {', '.join(map(str, inside))})" if inside else f"{remedy})")
        )
    if not os.path.exists(file):
        raise ConfigError(f"{where}: there is no such file{_nearest(file)} ({remedy})")
    if not _is_archive(file):
        raise ConfigError(
            f"{where} is not a checkpoint: not an archive as torch.save writes it, or cut off "
            f"({file.stat().st_size:,} bytes; {remedy})"
        )


def check_checkpoint_content(path: Any, verb: str) -> Mapping[str, Any]:
    """Refuse a file that torch cannot read, or that is not the checkpoint of a LightningModule.

    Only the shapes of its tensors are read, not their values.

    Args:
        path: a path that :func:`check_checkpoint_file` accepts.
        verb: name of the verb that loads the checkpoint.

    Returns:
        The weights as ``{name: tensor}``, on the meta device. Empty if the file is not on this
        machine, or if it contains classes that ``weights_only`` does not load.

    Raises:
        ConfigError: the file cannot be read, or lacks weights or, for ``fit``, the run's state.
    """
    if (
        path is None
        or path in _LOOKED_UP.get(verb, ())
        or "://" in path
        or not os.path.isfile(path)
    ):
        return {}
    where = f"ckpt_path={path!r}"
    content = _without_values(path, where)
    if content is None:
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ConfigError(
            f"{where} is not a checkpoint of a run: it has no 'state_dict' (to give weights alone, "
            f"name their folder as encoder=...; {_REMEDY})"
        )
    if verb == "fit" and ("loops" not in content or "optimizer_states" not in content):
        raise ConfigError(
            f"{where} holds a model without the state of its run, so training cannot be resumed "
            "from it (it was saved with save_weights_only; name another checkpoint)"
        )
    return cast(Mapping[str, Any], content["state_dict"])


def check_checkpoint_fits(path: Any, saved: Mapping[str, Any], model: Any) -> None:
    """Refuse a checkpoint whose weights differ from the model's in name or shape.

    Without this check, Lightning prints a list of all weights that differ. A model that overrides
    how it saves or loads weights is not checked. BiEncoder is an exception: when it loads a
    checkpoint of adapters, it adds the frozen weights, so only the weights in the file are checked.

    Args:
        path: path of the checkpoint.
        saved: the result of :func:`check_checkpoint_content`.
        model: the LightningModule that will load the checkpoint.

    Raises:
        ConfigError: weights differ. The message has their number and an example.
    """
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from llm_embedder_data.training.bi_encoder import BiEncoder

    if not saved or not model.strict_loading:
        return
    hooks = [hook for hook in _LOADING_HOOKS if is_overridden(hook, model)]
    adds = getattr(type(model), "on_load_checkpoint", None) is BiEncoder.on_load_checkpoint
    if hooks and not (adds and hooks == ["on_load_checkpoint"]):
        return
    in_model = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    in_file = {name: tuple(getattr(value, "shape", ())) for name, value in saved.items()}
    names = in_file if adds else {**in_model, **in_file}
    different = [name for name in names if in_model.get(name) != in_file.get(name)]
    if different:
        name = different[0]
        raise ConfigError(
            f"ckpt_path={path!r} is of another model: {len(different)} of its weights differ, such "
            f"as {name!r} (in the file {in_file.get(name, 'none')}, in the model "
            f"{in_model.get(name, 'none')}; give the encoder and the model that it was made with)"
        )


def _without_values(path: str, where: str) -> Any:
    """Load a checkpoint with its tensors on the meta device; None if it holds unknown classes."""
    import torch

    try:
        return torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except Exception as error:
        refuses_class = "Unsupported" in str(error) or "GLOBAL" in str(error)
        if isinstance(error, pickle.UnpicklingError) and refuses_class:
            return None
        raise ConfigError(f"{where} cannot be read: {_first_line(error)} ({_REMEDY})") from error


def _is_archive(file: Path) -> bool:
    """Return whether a file is a ZIP archive as ``torch.save`` writes it, complete to its end."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _nearest(file: Path) -> str:
    """Return a hint at the checkpoint in the same folder with the most similar name, if any."""
    folder = file.parent
    names = [found.name for found in folder.glob("*.ckpt")] if os.path.isdir(folder) else []
    near = get_close_matches(file.name, names, n=1, cutoff=0.3)
    return f"; did you mean {str(folder / near[0])!r}?" if near else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
