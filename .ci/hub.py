"""Run the README's commands that ask the hub, against a server here that speaks its API.

`python .ci/hub.py README.md`: the repositories that it names are models of `fixtures/`.
"""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

from readme import main  # noqa: E402

from tests.formats.web_server import Web, serving  # noqa: E402

REPOSITORIES = {"Qwen/Qwen2.5-0.5B": "base", "you/my-model": "full", "you/my-lora": "lora"}


if __name__ == "__main__":
    held = {name: ROOT / "fixtures" / folder for name, folder in REPOSITORIES.items()}
    with serving(Web(held)) as web, tempfile.TemporaryDirectory() as home:
        os.environ |= {"HF_ENDPOINT": web.hub, "HF_HOME": home}
        main(sys.argv[1], "hub")
