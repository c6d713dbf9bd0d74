"""A tensor is a name, a shape and a dtype now, and bytes when asked.

To add a place that bytes come from: a frozen record with what `Source` asks for. To add a way in
which a tensor lies in them: a frozen record with what `LazyTensor` asks for; of one that shows
another, a `View` with what it lends.
"""

from ftdiff.tensors.arranged import Rows
from ftdiff.tensors.lazy import (
    DTYPES,
    Array,
    LazyTensor,
    matrices,
    matrix_shape,
    nbytes,
    numel,
    precision,
    read_rows,
)
from ftdiff.tensors.memory import ArrayTensor
from ftdiff.tensors.reordered import Halved, Shifted
from ftdiff.tensors.source import MappedFile, PreadFile, Source, Stamp, stamp
from ftdiff.tensors.stored import FileTensor
from ftdiff.tensors.strips import strip
from ftdiff.tensors.view import View, is_quantised, stored_as
from ftdiff.tensors.views import Piece, Pieces, Strided

__all__ = [
    "DTYPES",
    "Array",
    "ArrayTensor",
    "FileTensor",
    "Halved",
    "LazyTensor",
    "MappedFile",
    "Piece",
    "Pieces",
    "PreadFile",
    "Rows",
    "Shifted",
    "Source",
    "Stamp",
    "Strided",
    "View",
    "is_quantised",
    "matrices",
    "matrix_shape",
    "nbytes",
    "numel",
    "precision",
    "read_rows",
    "stamp",
    "stored_as",
    "strip",
]
