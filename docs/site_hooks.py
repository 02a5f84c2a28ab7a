"""What mkdocs cannot do by settings: the pages of benchmark results become pages of the site.

They lie in benchmarks/results, outside the folder of the site's pages, because the benchmarks write
them there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = "benchmarks/results"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of results and their pictures under ``results/``."""
    root = Path(config.config_file_path).parent
    for file in sorted((root / RESULTS).iterdir()):
        if file.suffix in (".md", ".svg"):
            files.append(File.generated(config, f"results/{file.name}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to the results lead to their pages on the site."""
    return markdown.replace(f"](../{RESULTS}/", "](results/")
