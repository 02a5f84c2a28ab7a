"""Says which cases of a parametrized test the default suite runs; the others are marked slow."""

import pytest


def mostly_slow(cases, *quick):
    """Return the cases for ``parametrize``, all but those of ``quick`` marked slow."""
    assert set(quick) <= set(cases), "a quick case is no case"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
