"""What a phase's line says beside its bar, from its own pace."""

from __future__ import annotations

from collections.abc import Callable

from rich.filesize import decimal
from rich.progress import ProgressColumn, Task
from rich.text import Text

from ftdiff.comparison.pace import Pace
from ftdiff.comparison.progress import duration


class Said(ProgressColumn):
    """A column of words, made anew at every refresh: what they say is of this moment."""

    def __init__(self, words: Callable[[Pace, float | None], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:
        """Return the words of a phase."""
        return Text(self._words(task.fields["pace"], task.fields["took"]), style="dim")


def amount(*, of_bytes: bool) -> Said:
    """Return the column of what is done, of how much, and how fast."""

    def number(value: float) -> str:
        return decimal(int(value)) if of_bytes else f"{value:,.4g}"

    def words(pace: Pace, took: float | None) -> str:
        if not pace.total:
            return ""
        done = number(pace.total) if took is not None else f"{number(pace.done)} of "
        rate = pace.rate if took is None else pace.done / took if took else None
        more = number(pace.total) if took is None else ""
        return f"{done}{more}" + (f" · {number(rate)}/s" if rate else "")

    return Said(words)


def left() -> Said:
    """Return the column of the time: left, or so far where nothing is known, or taken."""

    def words(pace: Pace, took: float | None) -> str:
        if took is not None:
            return f"took {duration(took)}"
        if pace.left is not None and not pace.finished:
            return f"{duration(max(1.0, pace.left))} left"
        return f"{duration(pace.seconds)} so far"

    return Said(words)
