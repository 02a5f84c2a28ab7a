"""Opens pages in a real browser and says what is wrong with them."""

from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(
    (
        path
        for path in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser"))
        if path.exists()
    ),
    None,
)

PHONE, DESK = 390, 1280
SCREENS = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (PHONE, "dark"),
        (DESK, "light"),
        pytest.param(PHONE, "light", marks=pytest.mark.slow),
        pytest.param(DESK, "dark", marks=pytest.mark.slow),
    ],
)

# Finds text that is hard to read against its background (WCAG AA asks for a contrast of 4.5), text
# smaller than 9 px, text that its plot clips, and boxes that are wider than the screen.
_FAULTS = r"""
() => {
  const rgba = colour => {
    const numbers = colour.match(/[\d.]+/g).map(Number);
    const scale = colour.startsWith('color(') ? 255 : 1;
    return [...numbers.slice(0, 3).map(n => n * scale), numbers[3] ?? 1];
  };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const parents = element => element ? [element, ...parents(element.parentElement)] : [];
  const behind = element => parents(element).reverse()
    .map(one => rgba(getComputedStyle(one).backgroundColor)).reduce((b, a) => over(a, b));
  const light = colour => [.2126, .7152, .0722].reduce((sum, share, i) => {
    const c = colour[i] / 255;
    return sum + share * (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  }, 0);
  const found = [], width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push('the page is wider than the screen');
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement, box = element.getBoundingClientRect();
    const shown = element.checkVisibility({visibilityProperty: true}) && box.width * box.height;
    if (!node.textContent.trim() || element.closest('title, style, script') || !shown) continue;
    const svg = element.closest('svg'), style = getComputedStyle(element), back = behind(element);
    const opacity = parents(element).reduce((o, one) => o * getComputedStyle(one).opacity, 1);
    const ink = rgba(svg ? style.fill : style.color);
    const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * opacity], back)), light(back)];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize) * (svg ? svg.getScreenCTM().a : 1);
    const text = node.textContent.trim().slice(0, 40);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(1)}: ${text}`);
    if (size < 9) found.push(`${size.toFixed(1)} px: ${text}`);
    if (svg) {
      const frame = svg.getBoundingClientRect();
      const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1
        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
      if (!inside) found.push(`clipped: ${text}`);
    } else if (box.right > width + 1 && !element.closest('pre, [role=tablist]')) {
      found.push(`wider than the screen: ${text}`);
    }
  }
  for (const svg of document.querySelectorAll('figure svg')) {
    if (svg.checkVisibility() && !svg.querySelector('rect, circle')) found.push('an empty plot');
  }
  return found;
}
"""


@contextmanager
def opened_page(browser, address, width=DESK, scheme="light", *, offline=True, scripts=True):
    """A page in a window of its own, which must log nothing and load nothing but itself.

    If it is not offline, it may load more from this machine.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        offline=offline,
        java_script_enabled=scripts,
    )
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    try:
        yield page
        assert said == []
        if offline:
            assert {url.partition("#")[0] for url in asked} == {address.partition("#")[0]}
        else:
            assert [url for url in asked if not url.startswith("http://127.0.0.1:")] == []
    finally:
        context.close()


def faults(page):
    """What is wrong with what the page shows, all of it unfolded."""
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return page.evaluate(_FAULTS)


def brightness(page):
    """The brightness of the page's background, 0 to 765."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, colour[4:-1].split(",")))
