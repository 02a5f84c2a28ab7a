"""Where conf/ lives, and how Hydra composes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import llm_embedder_data.conf

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF_MODULE = "llm_embedder_data.conf"

# conf/ is a folder beside the package in a checkout, and inside it in a wheel.
CONF_DIR = Path(llm_embedder_data.conf.__path__[0])


def hydra_base() -> dict[str, str]:
    """The ``version_base`` that Hydra 1.3 wants to be told; later ones deprecate to be told any."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


def load_config(
    overrides: Sequence[str] = (), *, output_dir: str = "outputs", config_name: str = "config"
) -> DictConfig:
    """The configuration that the shell would compose, for notebooks and scripts.

    >>> load_config(["recipe=bge", "data.batch_size=4"]).data.batch_size
    4

    Works where Hydra is initialised already, and leaves that as it was.

    Args:
        overrides: as on the command line.
        output_dir: where a run would write; on the shell that is Hydra's run folder.
        config_name: the file of conf/ to begin with.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONF_MODULE, **hydra_base()):
            return compose(config_name, overrides=[f"output_dir={output_dir}", *overrides])
    finally:
        GlobalHydra.instance().hydra = outer
