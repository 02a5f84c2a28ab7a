"""A self-contained HTML page with tabs. Without JavaScript, all tabs are shown below each other."""

from __future__ import annotations

from collections.abc import Mapping

from llm_embedder_data.inspection.html_page import escaped, page

_STYLE = """
[role=tablist] { display: flex; gap: .3rem; margin: 1rem 0; padding: .4rem 0; overflow-x: auto;
  position: sticky; top: 0; z-index: 1; background: var(--paper);
  border-bottom: 1px solid var(--line) }
[role=tab] { font: inherit; font-size: .95rem; color: inherit; background: none; cursor: pointer;
  white-space: nowrap; border: 1px solid transparent; border-radius: .5rem; padding: .3rem .75rem }
[role=tab]:hover { background: var(--soft) }
[role=tab][aria-selected=true] { background: var(--soft); border-color: var(--line);
  font-weight: 600 }
[role=tab]:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px }
[role=tablist][hidden], [role=tabpanel][hidden] { display: none }
.with-scripts [role=tabpanel] > h2:first-child { display: none }
"""

_SCRIPT = """
(() => {
  const remember = tab => history.replaceState(null, '', '#' + tab.id);
  const tabs = [...document.querySelectorAll('[role=tab]')];
  const choose = (tab, focus) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute('aria-selected', chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute('aria-controls')).hidden = !chosen;
    }
    if (focus) tab.focus();
    tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener('click', () => { choose(tab); remember(tab); });
    tab.addEventListener('keydown', event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (step) {
        const next = tabs[(at + step + tabs.length) % tabs.length];
        choose(next, true);
        remember(next);
      }
    });
  });
  document.body.classList.add('with-scripts');
  document.querySelector('[role=tablist]').hidden = false;
  choose(tabs.find(tab => '#' + tab.id === location.hash) || tabs[0]);
})();
"""


def tabbed_page(title: str, tabs: Mapping[str, str], *, intro: str = "", style: str = "") -> str:
    """Return the page as HTML.

    Args:
        title: title of the page, as plain text.
        tabs: HTML of each tab by its title, in order; at least one tab.
        intro: HTML above the tabs.
        style: additional CSS.
    """
    buttons, panels = [], []
    for number, (name, content) in enumerate(tabs.items()):
        buttons.append(
            f'<button role="tab" id="tab-{number}" aria-controls="panel-{number}" '
            f'aria-selected="false">{escaped(name)}</button>'
        )
        panels.append(
            f'<section role="tabpanel" id="panel-{number}" aria-labelledby="tab-{number}">'
            f"<h2>{escaped(name)}</h2>{content}</section>"
        )
    return page(
        title,
        [
            intro,
            f'<div role="tablist" hidden>{"".join(buttons)}</div>',
            *panels,
            f"<script>{_SCRIPT}</script>",
        ],
        style=f"{_STYLE}{style}",
    )
