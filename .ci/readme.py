"""Run the README's commands of one kind, as they stand: `python .ci/readme.py README.md KIND`.

A block counts if the line before it is a comment `<!-- run: KIND -->`.
"""

import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^<!-- run: (\w+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(readme: str, kind: str) -> None:
    """Run every block of `kind` in one shell each, and stop at the first that fails."""
    blocks = [body for label, body in BLOCK.findall(Path(readme).read_text()) if label == kind]
    if not blocks:
        sys.exit(f"{readme}: no block is marked {kind!r}")
    for body in blocks:
        print(body, flush=True)
        subprocess.run(["bash", "-euo", "pipefail", "-c", body], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
