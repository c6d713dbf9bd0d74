"""Check that a plain install is light at the door: what is imported, and when."""

import subprocess
import sys

HEAVY = ("torch", "peft", "transformers", "matplotlib", "seaborn", "pandas", "scipy")
RUN = """import contextlib
from ftdiff.cli import ftdiff as f
with contextlib.suppress(SystemExit):
    f({!r}.split(), standalone_mode=False)"""


def loaded(code: str) -> set[str]:
    """Return which heavy libraries a fresh interpreter holds after running `code`."""
    probe = f"{code}\nimport sys\nprint(*(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def main() -> None:
    """Fail with what was loaded too early."""
    cases = {
        "import ftdiff": set(),
        "import ftdiff.__main__": set(),
        "import ftdiff; ftdiff.open_tuned('fixtures/lora')": set(),
        "import ftdiff; ftdiff.compare('fixtures/base', 'fixtures/lora')": set(),
        RUN.format("inspect fixtures/lora"): set(),
        RUN.format("compare fixtures/base fixtures/lora"): set(),
        RUN.format("compare fixtures/base fixtures/lora --format csv"): set(),
        RUN.format("audit fixtures/base fixtures/lora"): {"pandas"},
        RUN.format("trajectory fixtures/base fixtures/run"): {"pandas"},
    }
    for code, allowed in cases.items():
        extra = loaded(code) - allowed
        if extra:
            sys.exit(f"{code!r} loads {sorted(extra)}")


if __name__ == "__main__":
    main()
