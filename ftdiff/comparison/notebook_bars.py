"""Bars for Python and notebooks, as `progress=True` asks for: tqdm's, or rich's without it."""

from __future__ import annotations

from typing import Any

from ftdiff.comparison.pace import Pace, Report


class Bars:
    """One bar for each phase that reports: it appears with the first report, and is closed."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show work without a phase."""
        self.phase("measuring")(done, total)

    def phase(self, name: str) -> Report:
        """Begin a phase; that before it has ended."""
        self._close()
        pace = Pace()

        def report(done: int, total: int) -> None:
            if self._bar is None and not pace.finished:
                self._bar = _bar(name, total)
            pace.report(done, total)
            if self._bar is not None:
                self._bar.update(done - self._bar.n)
            if pace.finished:
                self._close()

        return report

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def _bar(name: str, total: int) -> Any:
    """Return a bar with `n`, `update(more)` and `close()`; of bytes where there are many."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Rich(name, total)
    many = total > 1 << 16
    unit: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if many else {}
    return tqdm(total=total, desc=name, leave=False, **unit)


class _Rich:
    """A bar of rich's, which notebooks show too, in tqdm's words."""

    def __init__(self, name: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.n = 0
        self._shown = Progress(console=Console(stderr=True), transient=True)
        self._task = self._shown.add_task(name, total=total)
        self._shown.start()

    def update(self, more: int) -> None:
        """Take how much more is done."""
        self.n += more
        self._shown.update(self._task, completed=self.n)

    def close(self) -> None:
        """Take it away."""
        self._shown.stop()


#: The bars of this process: one call is watched at a time.
BARS = Bars()
