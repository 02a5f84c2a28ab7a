"""Runs notebooks, writes their outputs into them, and compares outputs.

``python -m tests.executed_notebooks`` runs all notebooks, says how long each took, and keeps what
they show. With ``--only-time`` it keeps nothing.
"""

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient

import llm_embedder_data

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# The folder that holds the package: that of the installation, or the checkout.
_INSTALLED = re.compile(
    rf"/\S*?site-packages|{re.escape(str(Path(llm_embedder_data.__file__).parent.parent))}"
)
_TIMING = re.compile(r"[\d.,]+ s \([\d.,]+ a second\)|'seconds': [\d.e-]+")
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*\.?\d*(?:e-?\d+)?")
_TEXTS = ("text/plain", "text/html")
_IMAGES = ("image/png", "image/svg+xml")


class Shown(NamedTuple):
    """What a cell shows: its texts with numbers taken out, the numbers, and the plots."""

    texts: list[str]
    numbers: list[float]
    n_plots: int


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook with new outputs.

    It runs in a process of its own, in an empty folder, and reads all data anew.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        # On a busy machine, the kernel sends what a cell prints in several messages.
        coalesce_streams=True,
    )
    with tempfile.TemporaryDirectory() as cache:
        # Threads that wait for each other on busy cores take many times as long as one alone.
        fixed = {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        client.execute(env=os.environ | fixed)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_without_paths(one, folder) for one in cell.outputs if _is_kept(one)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    }
    return notebook


def shown(cell: Any) -> Shown:
    """Return what a cell shows."""
    texts, n_plots = [], 0
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
            continue
        n_plots += any(kind in output.data for kind in _IMAGES)
        if not any(kind in output.data for kind in _IMAGES):
            texts += [output.data[kind] for kind in _TEXTS if kind in output.data]
    texts = [_TIMING.sub("", text) for text in texts]
    numbers = [found.replace(",", "") for text in texts for found in _NUMBER.findall(text)]
    return Shown(
        [_NUMBER.sub("#", text) for text in texts], [float(one) for one in numbers], n_plots
    )


def _is_kept(output: Any) -> bool:
    """Return whether an output belongs to the notebook: warnings and progress bars do not."""
    return not (output.output_type == "stream" and output.name == "stderr")


def _without_paths(output: Any, folder: Path) -> Any:
    """Return an output without the folders of the machine on which it was made."""

    def clean(text: str) -> str:
        return _INSTALLED.sub("site-packages", text.replace(str(folder), "."))

    if output.output_type == "stream":
        output.text = clean(output.text)
    else:
        for kind in _TEXTS:
            if kind in output.data:
                output.data[kind] = clean(output.data[kind])
    return output


def _main() -> None:
    parser = argparse.ArgumentParser(description="Run all notebooks and print how long each took.")
    parser.add_argument("--only-time", action="store_true", help="leave the files as they are")
    only_time = parser.parse_args().only_time
    for path in NOTEBOOKS:
        before, began = os.times(), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        seconds, after = time.monotonic() - began, os.times()
        of_processors = sum(after[:4]) - sum(before[:4])  # of this process and of the kernel
        print(f"{path.stem}: {seconds:.0f} s, {of_processors:.0f} s of processors", flush=True)
        if not only_time:
            nbformat.write(notebook, path)


if __name__ == "__main__":
    _main()
