"""What a result of an analysis does: say what it shows, be saved, and be read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftdiff.comparison import storage

if TYPE_CHECKING:
    from typing import Self

    import pandas as pd

    from ftdiff.analyses.finding import Finding


class SavedResult(ABC):
    """A result whose rows are a frame, and whose document is JSON.

    Attributes
    ----------
    form
        How its document is called.
    frame
        Its rows.
    """

    form: ClassVar[storage.Form]
    frame: pd.DataFrame

    def findings(self) -> list[Finding]:
        """Say what it shows: a call of `ftdiff.findings`."""
        import ftdiff

        return ftdiff.findings(self)

    def json(self) -> str:
        """Return everything as JSON."""
        return self.form.text(self.document())

    def save(self, path: str | Path) -> Path:
        """Write JSON (whole), CSV or Parquet (the rows), by the path's ending.

        Raises
        ------
        BadCall
            The ending is another.
        """
        return storage.save(Path(path), self.form, self.document, lambda: self.frame)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote as JSON.

        Raises
        ------
        BadFile
            The file is no such result.
        """
        return storage.load(Path(path), cls.form, cls.of_document)

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """Return everything as values that JSON holds."""

    @classmethod
    @abstractmethod
    def of_document(cls, stored: Mapping[str, Any]) -> Self:
        """Return the result that a document holds.

        Raises
        ------
        ValueError, KeyError, TypeError
            Its parts do not fit each other.
        """
