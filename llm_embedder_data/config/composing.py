"""The location of conf/, and how Hydra composes it."""

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
    """Return Hydra's ``version_base`` argument, required by 1.3 and deprecated afterwards."""
    import hydra

    return {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


def load_config(
    overrides: Sequence[str] = (), *, output_dir: str = "outputs", config_name: str = "config"
) -> DictConfig:
    """Compose the configuration as the command line does, for notebooks and scripts.

    >>> load_config(["recipe=bge", "data.batch_size=4"]).data.batch_size
    4

    Hydra may be initialized already; its state is restored afterwards.

    Args:
        overrides: as on the command line.
        output_dir: folder for outputs; on the command line it is Hydra's run folder.
        config_name: the top-level file of conf/.
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
