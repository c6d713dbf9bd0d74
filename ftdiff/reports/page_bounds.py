"""What a page holds of a diff of very many tensors: some of them and of its layers, and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ftdiff.comparison.cut import noun
from ftdiff.comparison.frame import floats, length, rows_at
from ftdiff.comparison.result import Diff
from ftdiff.metrics import METRICS
from ftdiff.reports.document import Document
from ftdiff.reports.maps import MOST_LAYERS

#: Rows of the table of tensors.
MOST_TENSORS = 100_000


def bounded(diff: Diff, report: Document, metric: str) -> tuple[Diff, Document]:
    """Return the tensors that a page lists, and its report with what it leaves out as a caution.

    Of tensors those with the largest values of the metric are kept, in their order; of layers the
    first ones, as the heatmap does.
    """
    said, columns = [], diff.columns
    count, layers = length(columns), len(report.layers)
    if count > MOST_TENSORS:
        values = floats(columns[metric]) if metric in columns else np.zeros(count)
        largest = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:MOST_TENSORS]
        diff = Diff(rows_at(columns, np.sort(largest)), diff.about)
        rows = f"{count:,} {noun(diff)}s"
        said.append(f"the {MOST_TENSORS:,} of {rows} with the largest {METRICS[metric].label}")
    if layers > MOST_LAYERS:
        report = replace(report, layers=report.layers[:MOST_LAYERS])
        said.append(f"the first {MOST_LAYERS} of {layers:,} layers that moved")
    if said:
        told = f"This page lists {' and '.join(said)}; the saved diff has all."
        report = replace(report, cautions=(told, *report.cautions))
    return diff, report
