"""What is said beside the result, on standard error: warnings, notes, steps. `logging` decides who hears it.

The logger `xai` is at WARNING by default; `--quiet` sets it to ERROR, `--verbose` to INFO.
"""

from __future__ import annotations

import logging
import sys

LOG = logging.getLogger("xai")
"""Steps go to `LOG.info`, warnings to `LOG.warning`; in Python they end where the program's own logging sends them."""


def is_quiet() -> bool:
    """Whether nothing but results and errors is wanted."""
    return not LOG.isEnabledFor(logging.WARNING)


def say(step: str) -> None:
    """Tell whoever waits for a long measurement what it does now, unless they want quiet."""
    if not is_quiet():
        print(step, file=sys.stderr, flush=True)
