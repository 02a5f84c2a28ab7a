"""Makes the pictures of pages in docs/, of the sample: ``python -m tests.page_pictures``.

The console writes the pages of ``prepare``, ``inspect`` and ``mine``; Chromium opens them. Needs
Playwright, Chromium and the extra ``demo``.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import llm_embedder_data
from tests.browser_pages import CHROMIUM, DESK, PHONE

DOCS = Path(__file__).parent.parent / "docs"
SAMPLE = "pkg://llm_embedder_data/sample"
QA = [
    f"data.train_data={{qa: {SAMPLE}/qa/train.jsonl}}",
    f"data.corpus={{qa: {SAMPLE}/qa/corpus.jsonl}}",
]
COMMANDS = {
    "prepare": ["prepare", "world_size=2"],
    "inspect": ["inspect", "step=3", "data.batch_size=4", "data.train_group_size=4"],
    "mine": [
        "mine",
        *QA,
        "out=run.tsv",
        "depth=50",
        "data.range_min=2",
        "data.relative_margin=0.05",
    ],
}


class Picture(NamedTuple):
    """A picture: of the top of a page, on a tab if it has tabs, its first finding unfolded."""

    name: str
    page: str
    width: int = DESK
    height: int = 800
    scheme: str = "light"
    tab: str | None = None


PICTURES = [
    Picture("page-prepare", "prepare", height=1000),
    Picture("page-inspect", "inspect"),
    Picture("page-inspect-lengths-phone", "inspect", PHONE, 844, "dark", "Lengths"),
    Picture("page-mine", "mine", height=940),
]


def write_pages(folder: Path) -> None:
    """Write the pages of the sample as ``<verb>.html``, without folders of this machine."""
    package = Path(llm_embedder_data.__file__).parent
    for name, words in COMMANDS.items():
        file = folder / f"{name}.html"
        command = [sys.executable, "-m", "llm_embedder_data.cli", *words, f"html={file}"]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        file.write_text(file.read_text().replace(f"{package}/", "").replace(f"{folder}/", ""))


def take(browser, picture: Picture, folder: Path) -> bytes:
    """Return a picture of a page as lossless WebP."""
    from PIL import Image

    page = browser.new_page(
        viewport={"width": picture.width, "height": picture.height}, color_scheme=picture.scheme
    )
    page.goto((folder / f"{picture.page}.html").as_uri())
    if picture.tab:
        page.get_by_role("tab", name=picture.tab, exact=True).click()
    if picture.page == "prepare":
        page.locator("details").first.evaluate("finding => finding.open = true")
    shot = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    shot.save(written := io.BytesIO(), "WEBP", lossless=True, method=6)
    return written.getvalue()


def _main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_pages(folder)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for picture in PICTURES:
            content = take(browser, picture, folder)
            (DOCS / f"{picture.name}.webp").write_bytes(content)
            print(f"docs/{picture.name}.webp: {len(content) / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    _main()
