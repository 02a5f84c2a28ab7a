"""``explain``: a batch of a past run, every occurrence of a text, or how two runs differ."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from llm_embedder_data.cli.checkpoint_files import check_checkpoint_file
from llm_embedder_data.cli.output_files import (
    check_output_file,
    check_whole_number,
    write_json,
    write_text,
)
from llm_embedder_data.cli.run_objects import build_retrieval_data, overridden_keys
from llm_embedder_data.cli.showing import show
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import cause
from llm_embedder_data.datamodule.past_runs import data_of, plan_of_step, read_run, world_size_of
from llm_embedder_data.datamodule.run_differences import run_differences
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.inspection.html_page import page

# Settings that only some questions read, each with its default in conf/.
_OF_SOME = {"ckpt_path": None, "rank": None, "run": None, "world_size": None, "epochs": 1}

# Those that the questions for two runs and for a batch read, and those of the questions for a text.
_READ: dict[str, tuple[str, ...]] = {
    "diff=[a.ckpt,b.ckpt]": (),
    "epoch= and step=": ("ckpt_path", "rank", "run", "world_size"),
}
_READ_BY_TEXTS = ("ckpt_path", "world_size", "epochs")


def explain(cfg: DictConfig) -> None:
    """Show a batch of a past run, the occurrences of a text, or the differences of two runs.

    Raises:
        ConfigError: the settings ask for none or several of these, or cannot be used.
        DataError: the data cannot be read.
    """
    _check_settings(cfg)
    if cfg.diff is not None:
        title, found = (
            "How two runs differ",
            run_differences(*(read_run(path, "diff") for path in cfg.diff)),
        )
    elif cfg.step is not None:
        title, found = "A batch of a past run", _batch(cfg)
    else:
        title, found = "Where a text occurs", _occurrences(cfg)
    show(str(found))
    if cfg.json:
        write_json("json", cfg.json, found.to_dict())
    if cfg.html:
        write_text("html", cfg.html, page(title, [found._repr_html_()]))
        show(f"page: {cfg.html}")


def _check_settings(cfg: DictConfig) -> None:
    for name, least in (
        ("epoch", 0),
        ("step", 0),
        ("rank", 0),
        ("run", 0),
        ("world_size", 1),
        ("epochs", 1),
    ):
        check_whole_number(name, cfg[name], least, may_be_null=name != "epochs")
    for name in ("html", "json"):
        check_output_file(name, cfg[name])
    asked = {
        "diff=[a.ckpt,b.ckpt]": cfg.diff is not None,
        "epoch= and step=": cfg.step is not None or cfg.epoch is not None,
        "text=": cfg.text is not None,
        "text_file=": cfg.text_file is not None,
        "id=": cfg.id is not None,
    }
    if sum(asked.values()) != 1:
        named = [name for name, is_asked in asked.items() if is_asked]
        raise ConfigError(
            f"explain answers one question at a time, and {' and '.join(named) or 'none'} is "
            f"asked (give one of {', '.join(asked)})"
        )
    if cfg.diff is not None and not _are_two(cfg.diff):
        raise ConfigError(f"diff={cfg.diff}: expected two checkpoints, [a.ckpt,b.ckpt]")
    if cfg.step is None and cfg.epoch is not None:
        raise ConfigError(f"epoch={cfg.epoch}: which batch of the epoch? (give step= too)")
    if cfg.step is not None and (cfg.ckpt_path is None or cfg.epoch is None):
        raise ConfigError(
            f"step={cfg.step} asks for a batch of a past run (give ckpt_path= and epoch= too; "
            "without a checkpoint, inspect shows any batch)"
        )
    _check_unread(cfg, next(name for name, is_asked in asked.items() if is_asked))
    _check_texts(cfg)
    check_checkpoint_file(cfg.ckpt_path, "explain")
    for path in cfg.diff or ():
        check_checkpoint_file(path, "explain", "diff")


def _check_unread(cfg: DictConfig, question: str) -> None:
    """Refuse a setting that the question does not read: it would change nothing."""
    read = _READ.get(question, _READ_BY_TEXTS)
    for name, default in _OF_SOME.items():
        if cfg[name] != default and name not in read:
            raise ConfigError(f"{name}={cfg[name]!r} says nothing to {question} (leave it out)")


def _check_texts(cfg: DictConfig) -> None:
    """Refuse values that YAML reads as something else than the text or id that was meant."""
    for name in ("text", "text_file"):
        value = cfg[name]
        if value is not None and (type(value) not in (str, int) or value == ""):
            what = "a text" if name == "text" else "the path of a file"
            raise ConfigError(f"{name}={value!r}: expected {what} (quote it: {name}=\"'...'\")")
    if cfg.id is not None and type(cfg.id) not in (str, int):
        raise ConfigError(f"id={cfg.id!r}: expected a query id, a text or a whole number")


def _are_two(paths: Any) -> bool:
    is_list = isinstance(paths, ListConfig)
    return is_list and len(paths) == 2 and all(isinstance(path, str) for path in paths)


def _batch(cfg: DictConfig) -> Any:
    run = read_run(cfg.ckpt_path)
    datamodule = data_of(run, **_given_settings(cfg))
    planned = plan_of_step(
        run, datamodule, cfg.epoch, cfg.step, number=cfg.run, world_size=cfg.world_size
    )
    return datamodule.show(cfg.step, rank=cfg.rank, plan=planned.plan, notes=planned.notes)


def _occurrences(cfg: DictConfig) -> Any:
    world_size = cfg.world_size
    if cfg.ckpt_path is None:
        datamodule = build_retrieval_data(cfg)
        datamodule.prepare_data()
        datamodule.setup("fit")
    else:
        run = read_run(cfg.ckpt_path)
        datamodule = data_of(run, **_given_settings(cfg))
        world_size = world_size or world_size_of(run, datamodule)
    text = None if cfg.text is None else str(cfg.text)
    if cfg.text_file is not None:
        text = _text_of(cfg.text_file)
    return datamodule.occurrences(
        text=text, id=cfg.id, epochs=cfg.epochs, world_size=world_size or 1
    )


def _text_of(path: Any) -> str:
    """Return the text of a file, without a line break at the end.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = with_home(str(path)).read_bytes().decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"text_file={str(path)!r} cannot be read: {error} (name a file of text in UTF-8)"
        ) from cause(error)
    if not text:
        raise ConfigError(f"text_file={str(path)!r} is empty (name a file with the text)")
    return text


def _names(overridden: set[str], key: str) -> bool:
    """Return whether overrides set a key or something below it."""
    return any(name == key or name.startswith(f"{key}.") for name in overridden)


def _given_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return the data's settings on the command line, which replace those of the checkpoint."""
    names = overridden_keys()
    data = OmegaConf.to_container(cfg.data, resolve=True)
    assert isinstance(data, dict)
    given = {str(name): value for name, value in data.items() if _names(names, f"data.{name!s}")}
    if "encoder" in names and "tokenizer" not in given:
        given["tokenizer"] = data["tokenizer"]
    for name in ("seed", "recipe"):
        if name in names and name not in given:
            given[name] = data[name]
    if given.get("tokenizer") == "demo":
        given["tokenizer"] = demo_encoder()
    return given
