"""The page in a real browser, offline, on a phone and on a desk, in light and in dark."""

import re

import pytest
from browser_pages import PHONE, SCREENS, brightness, faults, opened_page
from inspection_cases import opened, rows_of, write

from llm_embedder_data.inspection.pages.inspect_page import inspect_page
from llm_embedder_data.inspection.pages.tabbed_page import tabbed_page

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


@SCREENS
def test_the_page_opens_offline_and_its_tabs_work(browser, page_file, width, scheme):
    with opened_page(browser, page_file.as_uri(), width, scheme) as page:
        assert page.title().startswith("Epoch 0, step ")
        assert page.get_by_role("tab").all_inner_texts() == TABS
        for name in TABS:
            page.get_by_role("tab", name=name, exact=True).click()
            shown = page.locator("[role=tabpanel]:visible")
            assert shown.count() == 1
            assert len(shown.inner_text()) > 40
            assert faults(page) == [], name
            if name not in ("Batch", "Data"):
                assert shown.locator("svg").count() >= 1
        assert brightness(page) > 600 if scheme == "light" else brightness(page) < 150


def test_tabs_are_reached_by_keys_and_by_address(browser, page_file):
    with opened_page(browser, f"{page_file.as_uri()}#tab-5") as page:
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Coverage"
        page.locator("[role=tab][aria-selected=true]").press("ArrowRight")
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == "Collisions"
        assert page.url.endswith("#tab-6")


def test_without_scripts_everything_is_shown(browser, page_file):
    with opened_page(browser, page_file.as_uri(), scripts=False) as page:
        assert page.locator("[role=tabpanel]:visible").count() == len(TABS)
        assert page.locator("[role=tablist]:visible").count() == 0


@pytest.mark.slow
def test_plots_of_many_datasets_show_the_most_telling_ones(browser, minilm, tmp_path):
    module = opened(
        tmp_path, minilm, train_data={"a": write(tmp_path / "t.jsonl", rows_of("qa", 8))}
    )
    plots = module.plot_data(world_size=1, epochs=3)
    for what in ("lengths", "padding", "sampled_steps"):
        plots[what] = {f"set {n}": plots[what]["a"] for n in range(60)}
    plots["coverage"] = {f"set {n}": [0.1, 0.5, n / 60] for n in range(60)}
    plots["collisions"] = {f"set {n}": {"worlds": [1, 2], "pairs": [0, n]} for n in range(60)}
    plots["tasks"]["shares"] = {f"task {n}": [0.05] * 8 for n in range(20)}
    file = tmp_path / "page.html"
    file.write_text(inspect_page(module.show(0), module.report(), plots))

    legends = {
        "Tasks": [*(f"task {n}" for n in range(7)), "13 other tasks"],
        "Coverage": [f"set {n}" for n in range(8)],
        "Collisions": [f"set {n}" for n in range(52, 60)],
    }
    with opened_page(browser, file.as_uri(), PHONE) as page:
        for name, legend in legends.items():
            page.get_by_role("tab", name=name).click()
            panel = page.locator("[role=tabpanel]:visible")
            assert panel.locator(".legend li").all_inner_texts() == legend
        assert "the 8 of 60 datasets with the most collisions" in panel.inner_text()
        page.get_by_role("tab", name="Lengths").click()
        assert page.locator("figure:visible").count() == 24
        page.get_by_text("96 more", exact=True).click()
        assert page.locator("figure:visible").count() == 120


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
