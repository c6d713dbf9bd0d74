"""The environment of a process that forks for each case: one thread, and no network."""

from __future__ import annotations

import os

VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "HF_HUB_OFFLINE": "1",
}


def be_alone() -> None:
    """Set it; called before anything is imported that reads it."""
    os.environ.update(VARIABLES)
