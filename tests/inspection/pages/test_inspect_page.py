"""The page in a real browser, offline, on a phone and on a desk, in light and in dark."""

import re
from pathlib import Path

import pytest
from inspection_cases import opened, rows_of, write

from llm_embedder_data.inspection.pages.inspect_page import inspect_page
from llm_embedder_data.inspection.pages.tabbed_page import tabbed_page

CHROMIUM = next(
    (
        path
        for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser"))
        if path.exists()
    ),
    None,
)
TABS = ["Batch", "Lengths", "Scores", "Tasks", "Padding", "Coverage", "Collisions", "Data"]
EVIL = "<script>document.title='taken'</script><img src=x onerror=alert(1)> </style> & \x1b[31m"


@pytest.fixture(scope="module")
def page_file(minilm, tmp_path_factory):
    """A page of data with hostile texts and names."""
    folder = tmp_path_factory.mktemp("page")
    rows = rows_of("qa", 16, scored=True)
    for row in rows:
        row["query"] += EVIL
        row["neg"][0] += "unbrokenword" * 40
        row["query_id"] += EVIL
    data = {
        f"evil {EVIL[:60]}": write(folder / "evil" / "t.jsonl", rows),
        "tool": write(folder / "tool" / "t.jsonl", rows_of("tool", 12)),
    }
    module = opened(folder, minilm, train_data=data, key_max_length=64)
    step = next(step for step in range(9) if module.show(step)["task"] == "qa")
    batch = module.show(step, rank=None, world_size=2)
    page = inspect_page(batch, module.report(), module.plot_data(world_size=2, epochs=4))
    file = folder / "page.html"
    file.write_text(page)
    return file


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with api.sync_playwright() as playwright:
        opened_browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox"]
        )
        yield opened_browser
        opened_browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_opens_offline_and_its_tabs_work(browser, page_file, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(page_file.as_uri())

    assert page.title().startswith("Epoch 0, step ")
    assert page.get_by_role("tab").all_inner_texts() == TABS
    for name in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        shown = page.locator("[role=tabpanel]:visible")
        assert shown.count() == 1
        assert len(shown.inner_text()) > 40
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name not in ("Batch", "Data"):
            assert shown.locator("svg").count() >= 1
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3]))
    assert brightness > 600 if scheme == "light" else brightness < 150
    assert said == []
    assert asked == [page_file.as_uri()]
    context.close()


def test_tabs_are_reached_by_keys_and_by_address(browser, page_file):
    page = browser.new_page()
    page.goto(f"{page_file.as_uri()}#tab-5")

    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Coverage"
    page.locator("[role=tab][aria-selected=true]").press("ArrowRight")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Collisions"
    assert page.url.endswith("#tab-6")
    page.close()


def test_without_scripts_everything_is_shown(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())

    assert page.locator("[role=tabpanel]:visible").count() == len(TABS)
    assert page.locator("[role=tablist]:visible").count() == 0
    context.close()


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_the_data_says(page_file):
    page = page_file.read_text()

    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "\x1b" not in page
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?://""", page.replace("src=x", ""))
    assert "&lt;script&gt;document.title=" in page


def test_tabs_of_a_page_are_named_and_escaped():
    page = tabbed_page("a < b", {"x & y": "<p>content</p>"})

    assert "x &amp; y" in page
    assert "<p>content</p>" in page
