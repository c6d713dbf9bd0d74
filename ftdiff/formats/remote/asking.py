"""Whether the network may be asked, and who is told that it is."""

from __future__ import annotations

import logging
import os

#: Says at level INFO whom it asks for what; the command line shows that on standard error.
logger = logging.getLogger("ftdiff.remote")


def offline() -> bool:
    """Say whether the network may not be asked, as `--offline` and HF_HUB_OFFLINE tell."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")
