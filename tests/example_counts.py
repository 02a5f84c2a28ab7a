"""Says how many examples a law is tried with: few in the default suite, all in the slow one."""

from hypothesis import settings

QUICK, THOROUGH = 16, 100  # of a law that does not say how many
LEAST = 12


def tried(number):
    """Return the settings of a law that ``make test-slow`` tries with ``number`` examples.

    The default suite tries it with a sixth of them, but with no fewer than ``LEAST``.
    """
    quick = max(LEAST, number * settings.default.max_examples // THOROUGH)
    return settings(max_examples=min(number, quick))
