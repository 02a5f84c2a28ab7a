"""The documentation site in a real browser: it loads nothing from elsewhere, and fits a phone."""

import contextlib
import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from browser_pages import DESK, PHONE, opened_page

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    """The address of the site, built and served on this machine, and its folder."""
    pytest.importorskip("mkdocs", reason="needs MkDocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_every_page_loads_all_it_shows_and_is_no_wider_than_a_phone(browser, site):
    address, folder = site
    pages = sorted(page.parent.relative_to(folder) for page in folder.rglob("index.html"))
    assert len(pages) > 40
    with opened_page(browser, f"{address}/", PHONE, offline=False) as page:
        for name in pages:
            page.goto(f"{address}/{name}/")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, name
            pictures = page.evaluate("[...document.images].map(one => one.naturalWidth)")
            assert 0 not in pictures, name


def test_labels_of_pictures_are_legible_on_a_phone(browser, site):
    with opened_page(browser, f"{site[0]}/how-it-works/", PHONE, offline=False) as page:
        pictures = page.locator("article img")
        assert pictures.count() == 3
        for number in range(3):
            shown, drawn = pictures.nth(number).evaluate("e => [e.width, e.naturalWidth]")
            assert 13 * shown / drawn > 9  # px, the size of the labels


def test_names_in_a_table_are_not_broken(browser, site):
    with opened_page(browser, f"{site[0]}/arguments/", DESK, offline=False) as page:
        names = page.locator("td:first-child code")
        assert names.count() > 40
        assert names.evaluate_all("all => all.every(one => one.getClientRects().length == 1)")


def test_the_search_finds_a_setting(browser, site):
    api = pytest.importorskip("playwright.sync_api")
    with opened_page(browser, f"{site[0]}/", DESK, offline=False) as page:
        found = page.locator(".md-search-result__item")
        # The page builds its index when the box gets the focus. On busy cores, the page may not
        # listen yet: then it is loaded again.
        for _ in range(8):
            page.goto(f"{site[0]}/", wait_until="networkidle")
            page.get_by_placeholder("Search").first.fill("shuffle_window")
            with contextlib.suppress(api.TimeoutError):
                found.first.wait_for(timeout=15_000)
                break
        assert found.count() >= 3
