"""Write the good files below a folder: python -m tests.fuzz.specimens FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.specimens import write

write(Path(sys.argv[1]))
