"""What may be done with a diff next: a method for each, a call of the public door."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What a diff shows to who completes its name; the rest is for whoever builds diffs.
PUBLIC = (
    *("about", "audit", "by", "expected", "findings", "frame", "load", "noise", "overall"),
    *("plot", "report", "save", "table", "to_pandas", "whole"),
)


class NextSteps:
    """The methods of a diff that other parts of ftdiff carry out."""

    if TYPE_CHECKING:

        @property
        def frame(self) -> pd.DataFrame:
            """A row per tensor."""

    def findings(self, metric: str | None = None) -> list[Any]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return [*ftdiff.findings(self, metric)]

    def audit(self, policy: Any = None, **how: Any) -> Any:
        """Hold it against rules and a policy: a call of `ftdiff.audit`, with its arguments."""
        import ftdiff

        return ftdiff.audit(self, policy, **how)  # type: ignore[arg-type]

    def plot(self, metric: str | None = None, **how: Any) -> Axes | Figure:
        """Draw it: a call of `ftdiff.plots.draw`; `style` names the figure."""
        import ftdiff

        return ftdiff.plots.draw(self, metric, **how)  # type: ignore[arg-type]

    def report(self, path: str | Path, metric: str | None = None) -> Path:
        """Write its page, one file that needs no network: a call of `ftdiff.reports.save`."""
        import ftdiff

        return ftdiff.reports.save(self, path, metric)

    def to_pandas(self) -> pd.DataFrame:
        """Return `frame`: a row per tensor, whose `attrs["columns"]` says what columns mean."""
        return self.frame

    def __repr__(self) -> str:
        import ftdiff

        return ftdiff.reports.small_map(self)

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what was compared, a row per component, the map."""
        import ftdiff

        return ftdiff.reports.small_map(self, html=True)

    def __dir__(self) -> list[str]:
        return [*PUBLIC]
